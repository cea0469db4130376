"""Runs that have lost their process are ended, and give back what they held."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from jersey_assets.graph.resources import Artifacts
from jersey_assets.operations.sensors import lost_runs
from jersey_assets.runs import liveness
from jersey_assets.runs.liveness import PROCESS_TAG, end_lost_runs, tie
from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.store import Store
from jersey_assets_tests import stopped
from jersey_assets_tests.waiting import wait_until

STATUS = dg.DagsterRunStatus


def test_a_killed_run_is_ended_and_gives_back_lock_and_slot(
    rendered: Path,
    tmp_path: Path,
    home: dg.DagsterInstance,
) -> None:
    artifacts = tmp_path / "artifacts"
    command = [sys.executable, "-m", "jersey_assets_tests.stopped", rendered, artifacts]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert any(stopped.WAITING in line for line in process.stdout)
    (run,) = home.get_runs()
    slots = home.event_log_storage.get_concurrency_info
    assert end_lost_runs(home) == []
    assert slots("gpu").active_slot_count == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert home.get_runs()[0].status is STATUS.STARTED
    with dg.build_sensor_context(home) as context:
        message = lost_runs.evaluate_tick(context).skip_message
    assert run.run_id[:8] in str(message)
    assert home.get_runs()[0].status is STATUS.FAILURE
    assert slots("gpu").active_slot_count == 0
    lock = Store(str(artifacts)).scratch() / "training.lock"
    with one_at_a_time(lock, "the next run"):
        assert "the next run" in lock.read_text()


def test_only_runs_without_a_process_are_ended(instance: dg.DagsterInstance) -> None:
    started, canceling, elsewhere = (
        create_run_for_test(instance, "job", status=status)
        for status in (STATUS.STARTED, STATUS.CANCELING, STATUS.STARTED)
    )
    tie(instance, started.run_id)
    tie(instance, canceling.run_id)
    instance.add_run_tags(elsewhere.run_id, {PROCESS_TAG: "of-another-home.lock"})
    assert end_lost_runs(instance) == []
    folder = Path(instance.root_directory) / "processes"
    (lock,) = folder.iterdir()
    lock.rename(folder / "held.lock")
    lock.touch()  # what a killed process leaves behind: nobody holds it
    ended = {run.run_id for run in end_lost_runs(instance)}
    assert ended == {started.run_id, canceling.run_id}
    statuses = [
        instance.get_run_by_id(run.run_id).status
        for run in (started, canceling, elsewhere)
    ]
    assert statuses == [STATUS.FAILURE, STATUS.CANCELED, STATUS.STARTED]
    assert [path.name for path in folder.iterdir()] == ["held.lock"]


def test_where_no_daemon_runs_a_run_ends_the_lost_ones(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_LOOK_S", 0.05)
    lost = create_run_for_test(instance, "job", status=STATUS.STARTED)

    @dg.asset
    def waits(artifacts: Artifacts) -> None:
        # Tagged first: a lock that no run names goes at the next look.
        instance.add_run_tags(lost.run_id, {PROCESS_TAG: "gone.lock"})
        (Path(instance.root_directory) / "processes" / "gone.lock").touch()
        wait_until(
            lambda: instance.get_run_by_id(lost.run_id).status is STATUS.FAILURE,
            "the end of the lost run",
        )

    resources = {"artifacts": Artifacts(root=str(tmp_path))}
    monkeypatch.setenv("JERSEY_ARTIFACT_ROOT", str(tmp_path))
    assert dg.materialize([waits], instance=instance, resources=resources).success
