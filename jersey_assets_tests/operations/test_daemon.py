"""The sensor under a real daemon and webserver, as an operator runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from jersey_assets.graph.training import NEWEST
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets_tests.operations.platform import ROOT, STATUS, Platform, preset


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset()))
    for name, value in {
        "DAGSTER_HOME": home,
        "JERSEY_DATA_ROOT": tmp_path / "data",
        "JERSEY_ARTIFACT_ROOT": tmp_path / "artifacts",
        "JERSEY_RETRAIN_CONFIG": tmp_path / "preset.yaml",
        "JERSEY_RETRAIN_WAIT_S": 1,
        "JERSEY_TICK_S": 1,
        "PYTHONPATH": ROOT,
    }.items():
        monkeypatch.setenv(name, str(value))
    with dg.DagsterInstance.get() as instance:
        made = Platform(tmp_path, instance)
        try:
            yield made
        finally:
            made.kill()


def draw(folder: Path, seed: int = 1) -> Path:
    """Draws some 150 crops of jerseys without a number and with an 8."""
    render_dataset(folder, train=600, valid=150, test=150, seed=seed)
    for file in folder.glob("*/annotations.jsonl"):
        rows = file.read_text().splitlines(keepends=True)
        kept = [row for row in rows if json.loads(row)["suffix"] in ("", "8")]
        file.write_text("".join(kept))
    return folder / "train" / "annotations.jsonl"


def failing_check(instance: dg.DagsterInstance) -> str:
    key = dg.AssetCheckKey(dg.AssetKey("trained_checkpoint"), NEWEST)
    storage = instance.event_log_storage
    (record,) = storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    found = record.event.dagster_event.asset_check_evaluation_data
    assert not found.passed
    return str(found.description)


@pytest.mark.slow
def test_annotations_that_do_not_hold_make_one_run_and_no_training(
    platform: Platform,
) -> None:
    file = draw(platform.data)
    file.write_text(file.read_text().replace('"suffix": "', '"suffix": "x'))
    platform.start()
    platform.turn_on()
    platform.settle(1, STATUS.FAILURE)
    assert "rejected_rows_within_budget" in platform.said()[0]
    assert "rejected_rows_within_budget" in failing_check(platform.instance)
    assert not platform.store.versions("trained_checkpoint")


@pytest.mark.slow
def test_annotations_that_land_in_a_year(platform: Platform, tmp_path: Path) -> None:
    """Each way of landing leads to its runs and its release, and to no other."""
    (platform.data / "train").mkdir(parents=True)
    platform.start()
    platform.turn_on()
    platform.ticks(3)

    # The first annotations land: crops before the files that name them.
    drawn = draw(tmp_path / "drawn")
    shutil.copytree(
        tmp_path / "drawn",
        platform.data,
        ignore=shutil.ignore_patterns("*.jsonl"),
        dirs_exist_ok=True,
    )
    for split in ("valid", "test", "train"):
        name = f"{split}/annotations.jsonl"
        shutil.copy(tmp_path / "drawn" / name, platform.data / name)
    platform.settle(1, STATUS.SUCCESS)
    platform.released(1)

    # A file is written slowly, in place: nothing happens until it stays as it is.
    file = platform.data / "train" / "annotations.jsonl"
    lines = drawn.read_text().splitlines(keepends=True)
    more = file.with_name("more.jsonl")
    text = "".join(lines[:5]).replace('"suffix"', '"note": "again", "suffix"')
    file.write_text("".join(lines[5:]))
    with more.open("w") as writing:
        for character in range(0, len(text), 40):
            writing.write(text[character : character + 40])
            writing.flush()
            time.sleep(0.5)
            assert len(platform.runs()) == 1
    platform.settle(2, STATUS.SUCCESS)
    platform.released(2)

    # A file is replaced by another one.
    other = file.with_name(".annotations.part")
    other.write_text("".join(lines[10:]))
    other.replace(file)
    platform.settle(3, STATUS.SUCCESS)
    platform.released(3)

    # The same content is written again, replaced by itself, touched.
    file.write_bytes(file.read_bytes())
    shutil.copy(file, other)
    other.replace(file)
    os.utime(file)
    platform.quiet(3)

    # The power is cut during a training, and comes back.
    file.write_text("".join(lines[15:]))
    lock = platform.store.scratch() / "training.lock"
    lock.write_text("")
    platform.wait_for(lock.read_text, "a training")
    platform.kill()
    assert platform.runs()[0].status is STATUS.STARTED
    platform.start()
    platform.settle(5, STATUS.SUCCESS, STATUS.FAILURE)
    platform.released(4)

    # Annotations that do not hold: one run, which trains nothing.
    good = file.read_text()
    trained = platform.store.versions("trained_checkpoint")
    file.write_text(good.replace('"suffix": "', '"suffix": "x'))
    platform.settle(6, STATUS.FAILURE)
    assert "rejected_rows_within_budget" in platform.said()[0]
    assert failing_check(platform.instance)
    assert platform.store.versions("trained_checkpoint") == trained

    # Put back as they were, and then as they were before that.
    file.write_text(good)
    platform.quiet(6)
    file.write_text("".join(lines[10:]))
    platform.settle(7, STATUS.SUCCESS)
    platform.released(4)


def training_spans(instance: dg.DagsterInstance) -> list[tuple[float, float]]:
    """When the trainings that ended well began and ended, in this order."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[STATUS.SUCCESS]))
    spans = []
    for run in runs:
        (step,) = instance.get_run_step_stats(run.run_id, ["trained_checkpoint"])
        assert step.start_time
        assert step.end_time
        spans.append((step.start_time, step.end_time))
    return sorted(spans)


@pytest.mark.slow
def test_queued_runs_train_one_at_a_time_and_outlive_a_killed_one(
    platform: Platform,
) -> None:
    draw(platform.data)
    platform.start()
    for epochs in (200, 12, 13):
        platform.launch(epochs=epochs)
    lock = platform.store.scratch() / "training.lock"
    platform.wait_for(lambda: lock.exists() and lock.read_text(), "a training")
    holder = json.loads(lock.read_text())
    time.sleep(5)
    assert json.loads(lock.read_text()) == holder
    os.kill(holder["pid"], signal.SIGKILL)
    platform.wait_for(lambda: all(r.is_finished for r in platform.runs()), "the runs")
    ended = {run.run_id: run.status for run in platform.runs()}
    assert ended.pop(holder["run"]) is STATUS.FAILURE
    assert list(ended.values()) == [STATUS.SUCCESS, STATUS.SUCCESS]
    (_, first_end), (second_start, _) = training_spans(platform.instance)
    assert first_end <= second_start


@pytest.mark.slow
def test_two_commands_at_once_train_one_after_the_other(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a home of its own, so that no pool keeps them apart."""
    draw(platform.data)
    python = Path(sys.executable)
    select = [
        "--select",
        "+key:trained_checkpoint or key:rejected_annotations",
        "-m",
        "jersey_assets.definitions",
    ]
    commands = []
    for number in (1, 2):
        home = tmp_path / str(number)
        home.mkdir()
        shutil.copy(ROOT / "dagster.yaml", home)
        config = tmp_path / f"{number}.yaml"
        config.write_text(yaml.safe_dump(preset(epochs=12 + number)))
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        command = [python.with_name("dagster"), "asset", "materialize", *select]
        commands.append(
            subprocess.Popen(
                [*command, "-c", str(config)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    told = [command.communicate()[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0], told
    assert sum("waiting for " in text for text in told) == 1
    assert len(platform.store.versions("trained_checkpoint")) == 2
