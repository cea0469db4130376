"""The sensor's ticks, on a real instance."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
import pytest
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
)
from dagster._core.test_utils import create_run_for_test

from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.definitions import defs
from jersey_assets.graph.resources import Artifacts, Dataset, Retraining
from jersey_assets.graph.training import NEWEST
from jersey_assets.operations import sensors
from jersey_assets.operations.sensors import new_annotations, terminated_runs
from jersey_assets.runs.history import ASKED_TAG, READ_TAG
from jersey_assets_tests.conftest import TINY_RECIPE, hand_over, run_graph

FAILED, ENDED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
KEY = dg.AssetKey("trained_checkpoint")


class Sensor:
    """Ticks the sensor as the daemon does: keeps its cursor, makes its runs."""

    def __init__(self, data: Path | str, artifacts: Path, instance: dg.DagsterInstance):
        self.data = data
        self.artifacts = artifacts
        self.instance = instance
        self.cursor: str | None = None
        self.says = ""
        self.settings: dict[str, Any] = {}

    def tick(self) -> list[dg.DagsterRun]:
        """One tick; the runs that it asked for."""
        resources = {
            "dataset": Dataset(root=str(self.data)),
            "artifacts": Artifacts(root=str(self.artifacts)),
            "retraining": Retraining(**self.settings),
        }
        with dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources=resources
        ) as context:
            data = new_annotations.evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        self.says = data.skip_message or ""
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return [
            create_run_for_test(
                self.instance,
                "retrain",
                run_config=request.run_config,
                tags={**request.tags, "dagster/run_key": str(request.run_key)},
            )
            for request in data.run_requests or []
        ]

    def ask(self) -> dg.DagsterRun:
        """Ticks until a run is asked for: the second look at new annotations."""
        assert self.tick() == []
        assert "a second look" in self.says
        (run,) = self.tick()
        return run

    def quiet(self, says: str, ticks: int = 2) -> None:
        """Ticks that ask for nothing, and why."""
        for _ in range(ticks):
            assert self.tick() == []
        assert says in self.says

    def end(self, run: dg.DagsterRun, status: dg.DagsterRunStatus = FAILED) -> None:
        """Ends a run, as Dagster does when its process says so."""
        report = {
            FAILED: self.instance.report_run_failed,
            dg.DagsterRunStatus.CANCELED: self.instance.report_run_canceled,
        }
        report[status](run)

    def train(self) -> str:
        """A run by hand, up to the training; its id."""
        made = run_graph(
            self.data,
            self.artifacts,
            self.instance,
            {**TINY_RECIPE, "epochs": 1},
            until="trained_checkpoint",
        )
        assert made.success
        return made.run_id

    def evaluation(self) -> dg.AssetCheckEvaluation | None:
        """The newest evaluation of the sensor's check."""
        key = dg.AssetCheckKey(KEY, NEWEST)
        storage = self.instance.event_log_storage
        records = storage.get_asset_check_execution_history(key, limit=1)
        return records[0].evaluation if records else None

    def check(self) -> bool | None:
        """Whether it passed."""
        found = self.evaluation()
        return None if found is None else found.passed

    def severity(self) -> dg.AssetCheckSeverity | None:
        """How bad it is."""
        found = self.evaluation()
        return None if found is None else found.severity


@pytest.fixture
def file(rendered: Path, tmp_path: Path) -> Path:
    """A file of a dataset of the test's own."""
    shutil.copytree(rendered, tmp_path / "data")
    return tmp_path / "data" / "train" / "annotations.jsonl"


@pytest.fixture
def sensor(file: Path, tmp_path: Path, instance: dg.DagsterInstance) -> Sensor:
    return Sensor(tmp_path / "data", tmp_path / "artifacts", instance)


@pytest.fixture(scope="module")
def once_trained(
    rendered: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dg.DagsterInstance]]:
    """Artifacts and instance after one training, for all tests to copy or read."""
    artifacts = tmp_path_factory.mktemp("trained")
    with dg.instance_for_test() as instance:
        Sensor(rendered, artifacts, instance).train()
        yield artifacts, instance


@pytest.fixture
def trained(sensor: Sensor, once_trained: tuple[Path, dg.DagsterInstance]) -> Sensor:
    """After a training on the dataset, whose run the instance does not know."""
    shutil.copytree(once_trained[0], sensor.artifacts)
    hand_over(sensor.artifacts, sensor.data)
    return sensor


def test_annotations_are_asked_for_once_when_they_have_stayed_for_two_ticks(
    sensor: Sensor,
) -> None:
    run = sensor.ask()
    digest = fingerprint(sensor.data).digest
    assert run.tags["dagster/run_key"] == f"{digest}-1"
    assert run.tags[READ_TAG] == run.tags[ASKED_TAG] == digest
    sensor.quiet("is under way", ticks=3)
    assert len(sensor.cursor or "") < 300


def test_annotations_that_keep_changing_are_waited_for(
    sensor: Sensor, file: Path
) -> None:
    for number in range(3):
        (file.parent / f"{number}.jsonl").write_text("")
        sensor.quiet("a second look", ticks=1)
    assert len(sensor.tick()) == 1


def test_annotations_already_trained_on_are_not_asked_for(trained: Sensor) -> None:
    trained.quiet("the same as the last training read")


def test_an_added_changed_or_removed_file_is_asked_for(
    trained: Sensor, file: Path
) -> None:
    trained.quiet("the same")
    whole = file.read_text()
    more = file.parent / "more.jsonl"
    for change in (
        lambda: file.write_text(whole + whole.splitlines()[0] + "\n"),
        lambda: more.write_text(whole.splitlines()[0] + "\n"),
        more.unlink,
    ):
        change()
        trained.end(trained.ask())


def test_the_same_content_written_again_or_replaced_is_not_asked_for(
    trained: Sensor, file: Path
) -> None:
    trained.quiet("the same")
    file.write_bytes(file.read_bytes())
    os.utime(file, (1, 1))
    trained.quiet("the same")
    copy = Path(shutil.copy(file, file.with_name("copy")))
    copy.replace(file)
    trained.quiet("the same")


def test_annotations_at_a_url_are_asked_for(
    sensor: Sensor, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    s3, url = fsspec.filesystem("s3"), f"{bucket}/data"
    s3.put(str(sensor.data), url, recursive=True)
    local = fingerprint(sensor.data)
    sensor.data = url
    assert sensor.ask().tags[READ_TAG] == local.digest
    s3.rm(url, recursive=True)
    sensor.quiet("holds no files, or does not exist")


def test_a_burst_of_files_makes_one_run(sensor: Sensor, file: Path) -> None:
    line = file.read_text().splitlines()[0] + "\n"
    for number in range(250):
        (file.parent / f"a{number}.jsonl").write_text(line)
    sensor.tick()
    for number in range(250):
        (file.parent / f"b{number}.jsonl").write_text(line)
    run = sensor.ask()
    (file.parent / "c.jsonl").write_text(line)
    sensor.quiet("is under way", ticks=3)
    # The run reads what is there when it starts, and says so; nothing is left to do.
    digest = fingerprint(sensor.data).digest
    sensor.instance.add_run_tags(run.run_id, {READ_TAG: digest})
    sensor.quiet("is under way")


def test_going_back_to_annotations_trained_on_before_is_asked_for_again(
    trained: Sensor, file: Path, once_trained: tuple[Path, dg.DagsterInstance]
) -> None:
    first, trained.instance = file.read_bytes(), once_trained[1]
    trained.quiet("the same")
    file.write_bytes(b"".join(first.splitlines(keepends=True)[:-10]))
    second = trained.ask()
    trained.end(second)
    file.write_bytes(first)
    trained.quiet("the same as the last training read")
    file.write_bytes(b"".join(first.splitlines(keepends=True)[:-10]))
    again = trained.ask()
    assert again.tags["dagster/run_key"] != second.tags["dagster/run_key"]
    trained.end(again)


def test_what_the_run_that_trained_says_counts_more_than_the_manifest(
    trained: Sensor, file: Path
) -> None:
    """Bytes that differ in nothing that counts lead to the artifacts that are there."""
    trained.quiet("the same")
    file.write_text(file.read_text().replace("\n", "\n\n", 1))
    trained.end(trained.ask())
    run = trained.instance.get_run_by_id(trained.train())
    trained.quiet("the same as the last training read")
    assert run is not None
    trained.instance.report_run_failed(run)  # after its training
    trained.settings = {"first_wait_s": 0}
    assert len(trained.tick()) == 1


def test_a_rollback_of_the_release_stays(trained: Sensor) -> None:
    released = trained.artifacts / "released_model"
    released.mkdir()
    (released / "current.json").write_text(json.dumps({"version": "an-older-one"}))
    trained.quiet("the same as the last training read")


def test_a_failed_run_is_asked_for_again_with_growing_waits_until_it_is_no_use(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor.settings = {"attempts": 3, "first_wait_s": 60}
    keys = []
    for wait in (60, 240):
        run = sensor.ask() if not keys else sensor.tick()[0]
        keys.append(run.tags["dagster/run_key"])
        sensor.end(run)
        sensor.quiet("has failed; the next one is due in")
        later = time.time() + wait + 1
        monkeypatch.setattr(sensors.time, "time", lambda later=later: later - 10)
        sensor.quiet("has failed; the next one is due in", ticks=1)
        monkeypatch.setattr(sensors.time, "time", lambda later=later: later)
    sensor.end(sensor.tick()[0])
    assert sensor.check() is None
    sensor.quiet("3 runs have failed for these annotations")
    assert sensor.check() is False
    assert sensor.severity() is dg.AssetCheckSeverity.ERROR
    events = sensor.instance.event_log_storage.get_asset_check_execution_history
    assert len(events(dg.AssetCheckKey(KEY, NEWEST), limit=9)) == 1
    (sensor.data / "train" / "more.jsonl").write_text("")
    assert sensor.ask().tags["dagster/run_key"] not in keys


def test_a_clock_that_was_set_back_makes_no_wait_of_years(
    sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor.end(sensor.ask())
    monkeypatch.setattr(sensors.time, "time", lambda: 1e9)
    assert len(sensor.tick()) == 1


def test_a_lost_request_is_made_again_with_the_same_key(sensor: Sensor) -> None:
    key = sensor.ask().tags["dagster/run_key"]
    sensor.instance.delete_run(sensor.instance.get_runs()[0].run_id)
    assert [run.tags["dagster/run_key"] for run in sensor.tick()] == [key]


def test_a_terminated_run_is_not_started_again_and_is_no_error(sensor: Sensor) -> None:
    sensor.end(sensor.ask(), dg.DagsterRunStatus.CANCELED)
    sensor.quiet("was terminated by a person")
    assert "start `retrain` by hand" in sensor.says
    assert sensor.check() is False
    assert sensor.severity() is dg.AssetCheckSeverity.WARN


def latest(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> tuple[str, bool]:
    """A check on Dagster's page: its status, and whether it is of this version."""
    context = LoadingContextForTest(instance)

    async def look() -> tuple[str, bool]:
        record = await AssetCheckExecutionRecord.gen(context, key)
        assert record is not None
        status = await record.resolve_status(context)
        return status.value, await record.targets_latest_materialization(context)

    return asyncio.run(look())


def test_what_checks_said_stays_visible_after_a_terminated_run(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    until = "class_mapping"
    made = run_graph(rendered, tmp_path, instance, until=until)
    assert made.success
    said = {
        dg.AssetCheckKey(key.asset_key, key.check_name): (key.passed, key.description)
        for key in made.get_asset_check_evaluations()
    }
    cursor = None

    def tick() -> None:
        nonlocal cursor
        with dg.build_sensor_context(instance, cursor=cursor) as context:
            cursor = terminated_runs.evaluate_tick(context).cursor or cursor

    tick()
    run = instance.create_run_for_job(defs.resolve_job_def("retrain"))
    instance.report_run_canceled(run)
    mapping = dg.AssetCheckKey(dg.AssetKey("class_mapping"), "mapping_covers_train")
    assert latest(instance, mapping) == ("SKIPPED", True)
    for _ in range(2):  # told once
        tick()
        for key, (passed, description) in said.items():
            status = "SUCCEEDED" if passed else "FAILED"
            assert latest(instance, key) == (status, True)
            (record,) = instance.event_log_storage.get_asset_check_execution_history(
                key, limit=1
            )
            assert record.evaluation is not None
            assert record.evaluation.description == description
    never = dg.AssetCheckKey(dg.AssetKey("onnx_model"), "output_is_logits")
    assert latest(instance, never)[0] == "SKIPPED"
    history = instance.event_log_storage.get_asset_check_execution_history
    assert len(history(mapping, limit=9)) == 3


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


def test_annotations_that_do_not_hold_are_told_once_and_not_tried_again(
    sensor: Sensor, file: Path
) -> None:
    good = file.read_text()
    file.write_text(good.replace('"suffix": "', '"suffix": "x'))
    sensor.settings = {"first_wait_s": 0}
    asked = sensor.ask()
    sensor.instance.report_run_canceled(asked)
    result = run_graph(sensor.data, sensor.artifacts, sensor.instance)
    assert not result.success
    sensor.quiet("stopped at ", ticks=3)
    assert "rejected_rows_within_budget" in sensor.says
    assert "train/annotations.jsonl" in sensor.says
    assert sensor.check() is False
    file.write_text(good)
    assert sensor.ask()


def test_the_check_passes_again_when_annotations_are_put_back(
    trained: Sensor, file: Path
) -> None:
    trained.quiet("the same")
    good = file.read_bytes()
    file.write_text("")
    trained.end(trained.ask(), dg.DagsterRunStatus.CANCELED)
    trained.quiet("was terminated")
    assert trained.check() is False
    file.write_bytes(good)
    trained.quiet("the same")
    assert trained.check() is True


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


def test_a_run_by_hand_is_waited_for(sensor: Sensor) -> None:
    create_run_for_test(
        sensor.instance,
        "__ASSET_JOB",
        tags={READ_TAG: "whatever"},
        status=dg.DagsterRunStatus.STARTED,
    )
    sensor.quiet("is under way", ticks=3)


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


def test_a_tick_tells_the_graph_what_is_on_disk(sensor: Sensor) -> None:
    sensor.tick()
    key = dg.AssetKey("annotation_files")
    (record,) = sensor.instance.fetch_observations(key, limit=9).records
    assert record.asset_observation is not None
    version = record.asset_observation.tags["dagster/data_version"]
    assert version == fingerprint(sensor.data).digest


def validate_annotations(
    data: Path, artifacts: Path, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    """Runs the job on these roots, which run config cannot name."""
    resources = {
        "dataset": Dataset(root=str(data)),
        "artifacts": Artifacts(root=str(artifacts)),
    }
    return defs.resolve_job_def("validate_annotations").execute_in_process(
        instance=instance, resources=resources, raise_on_error=False
    )


def test_the_jobs_cover_the_graph_and_the_annotations() -> None:
    whole = defs.resolve_job_def("retrain").asset_layer.selected_asset_keys
    assert len(whole) == 11
    part = defs.resolve_job_def("validate_annotations").asset_layer.selected_asset_keys
    assert {key.to_user_string() for key in part} == {
        "validated_annotations",
        "rejected_annotations",
    }


def test_the_validation_job_runs_the_checks_of_the_annotations(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = validate_annotations(rendered, tmp_path, instance)
    assert result.success
    assert len(result.get_asset_check_evaluations()) == 7


@pytest.mark.parametrize("resource", ["dataset", "artifacts"])
@pytest.mark.parametrize(
    "root", ["/tmp", "http://127.0.0.1:9/x", {"env": "HOME"}, "memory://x"]
)
def test_run_config_does_not_move_a_root(
    resource: str, root: object, instance: dg.DagsterInstance
) -> None:
    job = defs.resolve_job_def("validate_annotations")
    config = {"resources": {resource: {"config": {"root": root}}}}
    with pytest.raises(dg.DagsterError) as raised:
        job.execute_in_process(run_config=config, instance=instance)
    assert "root cannot be set in run config" in str(raised.value.__cause__)
