"""`dagster asset materialize` on the graph: what it prints and how it ends."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from jersey_assets_tests.commands.processes import ROOT, materialize


@pytest.fixture(scope="module")
def good_run(
    rendered: Path, home: Path, preset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    artifacts = tmp_path_factory.mktemp("my artifacts")
    return materialize(rendered, artifacts, home, preset), artifacts


def test_materialize_ends_with_0_and_a_summary(good_run) -> None:
    ended, artifacts = good_run
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "▶ trained_checkpoint" in ended.stdout
    assert "epoch   1/40" in ended.stdout
    assert "✓ output_is_logits" in ended.stdout
    summary = ended.stdout.partition("\nDone in ")[2]
    assert "top-1" in summary
    assert "largest logit error" in summary
    assert str(artifacts) in summary
    assert "What to do next" in summary


def test_the_command_to_go_on_with_can_be_pasted(good_run, rendered: Path) -> None:
    """It holds the path of the artifacts, with a space in it."""
    (line,) = (line for line in good_run[0].stdout.splitlines() if " predict " in line)
    command, explained = line.split("CROP.jpg")
    assert explained.strip() == "reads a crop"
    crop = next((rendered / "test").rglob("*.jpg"))
    ended = subprocess.run(
        f"{command} {shlex.quote(str(crop))}",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(str(crop))


def test_page_and_summary_tell_one_largest_error(good_run) -> None:
    ended, artifacts = good_run
    (told,) = re.findall(r"largest logit error (\S+)", ended.stdout)
    folder = artifacts / "parity_report"
    version = json.loads((folder / "current.json").read_text())["version"]
    page = (folder / version / "report.html").read_text()
    assert f"at most {told} apart" in page
    assert f"largest error {told} over 40 crops" in page
    card = next((artifacts / "released_model").glob("*/MODEL_CARD.md")).read_text()
    assert f"largest difference of a logit to PyTorch {told}\n" in card


def test_a_second_run_says_that_nothing_has_changed(
    good_run, rendered: Path, home: Path, tmp_path: Path
) -> None:
    """Also where nobody says which dataset it is: the artifacts know."""
    first, artifacts = good_run
    pointer = artifacts / "released_model" / "current.json"
    version = json.loads(pointer.read_text())["version"]
    assert f"published, {version}" in first.stdout
    loggers = tmp_path / "console.yaml"
    loggers.write_text("loggers: {console: {}}")
    again = materialize("", artifacts, home, loggers, select="released_model")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "published," not in again.stdout
    summary = again.stdout.partition("\nDone in ")[2]
    assert f"unchanged, {version} was published" in summary
    assert f"JERSEY_DATA_ROOT         {rendered}\n" in summary


def test_the_terminal_is_not_flooded(good_run) -> None:
    ended, _ = good_run
    assert "DEBUG" not in ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert len([line for line in lines if not re.match(r" *epoch +\d", line)]) < 120


def test_a_failed_blocking_check_ends_with_1_and_says_which(
    rendered: Path, tmp_path: Path, home: Path, preset: Path
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    shutil.rmtree(data / "valid")
    ended = materialize(data, tmp_path / "artifacts", home, preset)
    assert ended.returncode == 1
    assert "✗ every_split_has_rows" in ended.stdout
    summary = ended.stdout.partition("\nFailed in ")[2]
    assert "✗ every_split_has_rows" in summary
    assert "trained_checkpoint" in summary.partition("not run")[2]
    assert not (tmp_path / "artifacts" / "trained_checkpoint").exists()


@pytest.mark.slow
def test_a_second_config_is_laid_over_the_preset(
    rendered: Path, tmp_path: Path, home: Path, preset: Path
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    path = data / "train" / "annotations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    twice = [row | {"suffix": ""} for row in rows if row["suffix"]][:30]
    path.write_text("\n".join(json.dumps(row) for row in rows + twice) + "\n")
    artifacts = tmp_path / "artifacts"
    refused = materialize(data, artifacts, home, preset)
    assert refused.returncode == 1
    overlay = ROOT / "presets" / "prefer_number.yaml"
    accepted = materialize(
        data,
        artifacts,
        home,
        preset,
        overlay,
        select="validated_annotations,rejected_annotations,class_mapping",
    )
    assert accepted.returncode == 0, accepted.stdout
