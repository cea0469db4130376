"""Settings of the sensor, and roots that it cannot use now."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.graph.resources import Retraining
from jersey_assets_tests.operations.ticking import Sensor
from jersey_assets_tests.whole_graph import hand_over


def test_another_dataset_is_a_reason_and_not_trained_over(
    trained: Sensor, tmp_path: Path
) -> None:
    shutil.move(trained.data, tmp_path / "moved")
    trained.data = tmp_path / "moved"
    trained.quiet("is another one", ticks=3)
    assert f"jersey-assets adopt {tmp_path / 'moved'}" in trained.says
    hand_over(trained.artifacts, tmp_path / "moved")
    trained.quiet("the same as the last training read")


def test_the_artifact_roots_own_dataset_is_watched_where_none_is_set(
    trained: Sensor, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the sample, which would be trained over it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JERSEY_DATA_ROOT", raising=False)
    trained.data = ""
    trained.quiet("the same as the last training read")
    (file.parent / "more.jsonl").write_text("")
    assert trained.ask()


def test_fewer_new_rows_than_wanted_are_waited_for(trained: Sensor, file: Path) -> None:
    trained.settings = {"min_new_rows": 3, "first_wait_s": 0}
    line = file.read_text().splitlines()[0] + "\n"
    trained.quiet("the same")
    with file.open("a") as more:
        more.write(2 * line)
    trained.quiet("2 new rows; waiting for 3")
    with file.open("a") as more:
        more.write(line)
    # The run publishes its training and fails after that: no row is new any more.
    asked = trained.ask()
    made = trained.instance.get_run_by_id(trained.train())
    assert made is not None
    trained.end(made)
    trained.end(asked)
    (again,) = trained.tick()
    assert again.tags["dagster/run_key"].endswith("-2")


def test_runs_use_the_config_that_the_operator_named(
    sensor: Sensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = tmp_path / "preset.yaml"
    monkeypatch.setenv("JERSEY_RETRAIN_CONFIG", str(preset))
    sensor.tick()
    with pytest.raises(ValueError, match=r"JERSEY_RETRAIN_CONFIG.*preset\.yaml"):
        sensor.tick()
    preset.write_text("- a list")
    with pytest.raises(ValueError, match="does not hold run config"):
        sensor.tick()
    preset.write_text("ops: {trained_checkpoint: {config: {epochs: 3}}}")
    (run,) = sensor.tick()
    assert run.run_config["ops"]["trained_checkpoint"]["config"]["epochs"] == 3


def test_a_setting_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JERSEY_RETRAIN_MIN_ROWS", "many")
    with pytest.raises(ValueError, match="JERSEY_RETRAIN_MIN_ROWS is 'many'"):
        Retraining()


def test_a_missing_or_empty_root_is_a_reason_and_not_an_error(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(tmp_path / "none", tmp_path / "artifacts", instance)
    sensor.quiet("does not exist")
    sensor.data.mkdir()
    sensor.quiet("there are no annotation files")


def test_artifacts_that_cannot_be_read_now_are_no_reason_to_train(
    trained: Sensor, file: Path
) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    current = trained.artifacts / "trained_checkpoint" / "current.json"
    kept = current.read_bytes()
    current.unlink()
    current.symlink_to(current.name)
    trained.quiet("Too many levels of symbolic links", ticks=3)
    current.unlink()
    current.write_bytes(kept)
    trained.ask()


def test_a_cursor_of_another_form_is_a_fresh_one(sensor: Sensor) -> None:
    sensor.cursor = '{"fingerprint": null, "requests": 3}'
    assert sensor.ask()
