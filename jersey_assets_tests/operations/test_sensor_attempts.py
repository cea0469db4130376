"""Runs that fail or are terminated, and when the sensor asks again."""

from __future__ import annotations

import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from jersey_assets.graph.training import NEWEST
from jersey_assets.operations import sensors
from jersey_assets.runs.history import READ_TAG
from jersey_assets_tests.operations.ticking import KEY, Sensor
from jersey_assets_tests.whole_graph import run_graph


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


def test_a_run_by_hand_is_waited_for(sensor: Sensor) -> None:
    create_run_for_test(
        sensor.instance,
        "__ASSET_JOB",
        tags={READ_TAG: "whatever"},
        status=dg.DagsterRunStatus.STARTED,
    )
    sensor.quiet("is under way", ticks=3)
