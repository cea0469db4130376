"""The commands that people and CI type, each as a process of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jersey_assets_tests.conftest import GOOD_RECIPE

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def run(
    *arguments: str | Path, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / str(arguments[0])), *map(str, arguments[1:])],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home with the shipped settings."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dagster.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick preset with a recipe small enough for a test, and good enough."""
    config = yaml.safe_load((ROOT / "presets" / "quick.yaml").read_text())
    recipe = config["ops"]["trained_checkpoint"]["config"]
    recipe.update(GOOD_RECIPE)
    path = tmp_path_factory.mktemp("preset") / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def materialize(
    data: Path | str, artifacts: Path, home: Path, *config: Path, select: str = "*"
) -> subprocess.CompletedProcess[str]:
    options = [text for path in config for text in ("-c", str(path))]
    return run(
        "dagster",
        "asset",
        "materialize",
        "--select",
        select,
        "-m",
        "jersey_assets.definitions",
        *options,
        JERSEY_DATA_ROOT=str(data),
        JERSEY_ARTIFACT_ROOT=str(artifacts),
        DAGSTER_HOME=str(home),
    )


@pytest.fixture(scope="module")
def good_run(
    rendered: Path, home: Path, preset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    artifacts = tmp_path_factory.mktemp("my artifacts")
    return materialize(rendered, artifacts, home, preset), artifacts


@pytest.fixture(scope="module")
def released(good_run) -> Path:
    """Folder of the released model."""
    folder = good_run[1] / "released_model"
    current = json.loads((folder / "current.json").read_text())
    return folder / current["version"]


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
    good_run, released: Path, rendered: Path, home: Path, preset: Path
) -> None:
    """Also where nobody says which dataset it is: the artifacts know."""
    first, artifacts = good_run
    assert f"published, {released.name}" in first.stdout
    again = materialize("", artifacts, home, preset)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "published," not in again.stdout
    summary = again.stdout.partition("\nDone in ")[2]
    assert f"unchanged, {released.name} was published" in summary
    assert f"JERSEY_DATA_ROOT         {rendered}\n" in summary


def test_another_dataset_is_refused_and_the_artifacts_can_be_handed_over(
    good_run, rendered: Path, tmp_path: Path, home: Path
) -> None:
    artifacts = Path(shutil.copytree(good_run[1], tmp_path / "artifacts"))
    other = Path(shutil.copytree(rendered, tmp_path / "another one"))
    select = "validated_annotations,rejected_annotations"
    loggers = tmp_path / "console.yaml"
    loggers.write_text("loggers: {console: {}}")
    refused = materialize(other, artifacts, home, loggers, select=select)
    assert refused.returncode == 1
    assert f"hand this one over: jersey-assets adopt '{other}'" in refused.stdout
    command = ("jersey-assets", "adopt")
    missing = run(*command, tmp_path / "none", "--artifacts", artifacts)
    assert missing.returncode == 2
    adopted = run(*command, other, JERSEY_ARTIFACT_ROOT=str(artifacts))
    assert adopted.returncode == 0
    assert f"now belongs to {other}" in adopted.stdout
    assert materialize(other, artifacts, home, loggers, select=select).returncode == 0


def test_the_sample_is_drawn_only_where_it_is_the_dataset_in_use(
    rendered: Path, tmp_path: Path
) -> None:
    sample = tmp_path / "data" / "sample"

    def draw(data: Path | str, artifacts: str) -> str:
        roots = {"JERSEY_DATA_ROOT": str(data), "JERSEY_ARTIFACT_ROOT": artifacts}
        ended = run("jersey-assets", "sample", cwd=tmp_path, **roots)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert draw(rendered, "nobody's") == ""
    adopted = tmp_path / "rendered's"
    run("jersey-assets", "adopt", rendered, "--artifacts", adopted)
    assert draw("", str(adopted)) == ""
    assert not sample.exists()
    assert "Drawing" in draw("", "nobody's")
    assert (sample / "test" / "annotations.jsonl").is_file()
    assert draw("", "nobody's") == ""


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ([], ""),
        (["DATA="], ""),
        (["DATA=data/mine"], str(ROOT / "data" / "mine")),
        (["DATA=s3://bucket/mine"], "s3://bucket/mine"),
    ],
)
def test_make_leaves_the_dataset_to_the_artifacts_unless_one_is_named(
    given: list[str], root: str
) -> None:
    show = 'show: ; @echo "[$$JERSEY_DATA_ROOT]"'
    ended = subprocess.run(
        ["make", "--no-print-directory", "--eval", show, "show", *given],
        cwd=ROOT,
        env={**os.environ, "JERSEY_DATA_ROOT": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"[{root}]\n"


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


@pytest.mark.parametrize("name", ["quick", "default", "gpu", "prefer_number"])
def test_every_preset_is_accepted_by_the_graph(name: str) -> None:
    import dagster as dg

    from jersey_assets.definitions import defs

    config = yaml.safe_load((ROOT / "presets" / f"{name}.yaml").read_text())
    assert dg.validate_run_config(defs.resolve_job_def("retrain"), config)


@pytest.mark.parametrize(
    ("target", "variable", "option"),
    [
        ("bench-training", "BENCH_DATA", "--data"),
        ("bench-faults", "FAULT", "--only"),
        ("bench-export", "CHECKPOINT", "--checkpoint"),
        ("materialize", "CONFIG", "-c"),
    ],
)
def test_make_passes_a_value_on_as_one_word(
    target: str, variable: str, option: str
) -> None:
    value = """it's `my` "data" (or | mine) *"""
    said = subprocess.run(
        ["make", "--dry-run", target, f"{variable}={value}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    words = shlex.split(said.stdout)
    assert words[words.index(value) - 1] == option


def test_make_trains_by_the_recipe_that_the_launchpad_and_the_sensor_have() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "materialize"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (named,) = set(re.findall(r"presets/\w+\.yaml", said.stdout))
    assert named in (ROOT / "README.md").read_text()
    assert "ops" not in yaml.safe_load((ROOT / named).read_text())


def test_validate_names_faults_by_file_and_line(rendered: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    path = data / "train" / "annotations.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = '{"image": "crops/none.jpg", "suffix": "23"}'
    lines[6] = '{"image": "crops/0001.jpg", "suffix": 23}'
    path.write_text("\n".join(lines) + "\n")
    ended = run("jersey-assets", "validate", data, "--json", tmp_path / "found.json")
    assert ended.returncode == 0
    assert "train/annotations.jsonl:5: error: path.missing" in ended.stdout
    assert "train/annotations.jsonl:7: error: row.wrong_type" in ended.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["outcome"] == "quarantine"
    assert found["rows"] == found["kept"] + 2
    assert {"file", "line", "reason", "severity", "message"} == set(
        found["findings"][0]
    )


def test_validate_refuses_a_dataset_with_1_and_a_missing_one_with_2(
    rendered: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    shutil.rmtree(data / "valid")
    assert run("jersey-assets", "validate", data).returncode == 1
    missing = run("jersey-assets", "validate", tmp_path / "none")
    assert missing.returncode == 2
    assert "does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_predict_reads_a_crop(released: Path, rendered: Path) -> None:
    crop = next((rendered / "test" / "crops").iterdir())
    ended = run("jersey-assets", "predict", released / "model.onnx", crop)
    assert ended.returncode == 0
    image, label, confidence = ended.stdout.rstrip("\n").split("\t")
    assert image == str(crop)
    assert label == "(none)" or label.isdigit()
    assert 0 < float(confidence) <= 1


def test_check_onnx_prints_a_line_a_check(released: Path, tmp_path: Path) -> None:
    labels = released / "labels_mapping.json"
    ended = run(
        "jersey-assets", "check-onnx", released / "model.onnx", "--labels", labels
    )
    assert ended.returncode == 0, ended.stdout
    names = [line.split()[1].rstrip(":") for line in ended.stdout.splitlines()]
    assert {"output_is_logits", "batch_axis_is_dynamic"} <= set(names)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((released / "model.onnx").read_bytes()[:1000])
    assert run("jersey-assets", "check-onnx", broken).returncode == 1


def test_releases_lists_and_goes_back(good_run, released: Path) -> None:
    artifacts = good_run[1]
    listed = run("jersey-assets", "releases", "list", "--artifacts", artifacts)
    assert listed.returncode == 0
    report = json.loads((released / "evaluation_report.json").read_text())
    assert re.fullmatch(
        rf"\* {released.name}  20\S+  dataset rendered  test 40 crops  "
        rf"top-1 {report['top1']:.1%} \(\d+\.\d% to \d+\.\d%\)\n",
        listed.stdout,
    )
    command = ("jersey-assets", "releases", "rollback")
    back = run(*command, released.name, "--artifacts", artifacts)
    assert back.returncode == 0
    assert f"* {released.name}" in back.stdout
    refused = run(*command, "none", "--artifacts", artifacts)
    assert refused.returncode == 2
    assert released.name in refused.stderr
