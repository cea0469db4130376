"""Runs that are stopped from outside, as processes of their own."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import torch

from jersey_assets.storage.store import Store
from jersey_assets.training.callbacks import saving
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.resume import ResumeFolder
from jersey_assets_tests.stopped import WAITING, train
from jersey_assets_tests.storage.test_lock import hold
from jersey_assets_tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]


def trained(artifacts: Path) -> Checkpoint:
    artifact = Store(str(artifacts)).require("trained_checkpoint")
    return load_checkpoint(artifact.file("model.ckpt"))


@pytest.fixture(scope="module")
def whole(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """What a run that nobody stops gives."""
    artifacts = tmp_path_factory.mktemp("whole")
    with dg.instance_for_test() as instance:
        assert train(rendered, artifacts, instance).success
    return trained(artifacts)


@pytest.mark.parametrize(
    ("terminate", "status"),
    [(True, "CANCELED"), pytest.param(False, "FAILURE", marks=pytest.mark.slow)],
)
def test_a_stopped_run_is_no_success_and_the_next_one_goes_on_to_the_same_weights(
    rendered: Path,
    tmp_path: Path,
    home: dg.DagsterInstance,
    whole: Checkpoint,
    caplog: pytest.LogCaptureFixture,
    terminate: bool,
    status: str,
) -> None:
    artifacts = tmp_path / "artifacts"
    module = "jersey_assets_tests.stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(rendered), str(artifacts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert any(WAITING in line for line in process.stdout)
    (run,) = home.get_runs()
    if terminate:  # what Terminate in the UI does before it sends the signal
        home.report_run_canceling(run)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode != 0
    ended = home.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status.value == status
    assert not Store(str(artifacts)).versions("trained_checkpoint")

    with caplog.at_level(logging.INFO):
        assert train(rendered, artifacts, home).success
    assert "resuming at epoch 2, step 24" in caplog.text
    resumed = trained(artifacts)
    for name, value in whole.state_dict.items():
        assert torch.equal(value, resumed.state_dict[name])
        assert torch.equal(whole.raw_state_dict[name], resumed.raw_state_dict[name])
    work = Store(str(artifacts)).scratch() / "training"
    assert not list(work.iterdir())


def fail_once(
    monkeypatch: pytest.MonkeyPatch, error: Exception, at: int = 2
) -> list[int]:
    """Lets the training's work fail to be saved, once."""
    calls: list[int] = []
    really_save = ResumeFolder.save

    def save(*arguments: Any) -> None:
        calls.append(len(calls) + 1)
        if calls[-1] == at:
            raise error
        really_save(*arguments)

    monkeypatch.setattr(ResumeFolder, "save", save)
    return calls


@pytest.mark.slow
def test_a_full_disk_in_the_training_ends_in_the_same_weights_after_a_pause(
    rendered: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    whole: Checkpoint,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_once(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(saving, "SAVE_EVERY_S", 0.3)
    monkeypatch.setattr("jersey_assets.graph.training.RETRY_PAUSE_S", 0)
    with caplog.at_level(logging.INFO):
        result = train(rendered, tmp_path, instance)
    assert result.success
    assert result.retry_attempts_for_node("trained_checkpoint") == 1
    assert "resuming at epoch" in caplog.text
    for name, value in whole.state_dict.items():
        assert torch.equal(value, trained(tmp_path).state_dict[name])


def test_a_run_that_pauses_before_it_tries_again_ends_when_it_is_told_to(
    rendered: Path, tmp_path: Path, home: dg.DagsterInstance
) -> None:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "trained_checkpoint").touch()  # a folder is wanted: worth another try
    told = tmp_path / "told"
    program = (
        "from jersey_assets.graph import training; training.RETRY_PAUSE_S = 24 * 3600; "
        "from dagster._cli import main; main()"
    )
    command = [sys.executable, "-c", program, "asset", "materialize"]
    command += ["-m", "jersey_assets.definitions", "--select", "*"]
    with told.open("wb") as out:
        process = subprocess.Popen(
            command,
            env={
                **os.environ,
                "JERSEY_DATA_ROOT": str(rendered),
                "JERSEY_ARTIFACT_ROOT": str(artifacts),
            },
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: retried(home) or process.poll() is not None, "a failed first try"
        )
        assert process.poll() is None, told.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) != 0
    finally:
        process.kill()
    assert "it resumes in 86400 s" in told.read_text()
    (run,) = home.get_runs()
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert home.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0


def retried(instance: dg.DagsterInstance) -> bool:
    """Whether a step of the only run is to be tried again."""
    kind = dg.DagsterEventType.STEP_UP_FOR_RETRY
    return any(instance.all_logs(run.run_id, kind) for run in instance.get_runs())


@pytest.mark.slow
def test_what_would_fail_again_is_not_tried_again(
    rendered: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = fail_once(monkeypatch, TrainingError("no number"), at=1)
    result = train(rendered, tmp_path, instance)
    assert not result.success
    assert len(calls) == 1
    assert result.retry_attempts_for_node("trained_checkpoint") == 0


@pytest.mark.slow
def test_a_second_training_in_the_same_artifact_root_waits(
    rendered: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = Store(str(tmp_path)).scratch() / "training.lock"
    holder = hold(path, "another-run", 600)
    assert holder.stdout is not None
    holder.stdout.readline()

    def end_the_other(record: logging.LogRecord) -> bool:
        holder.kill()
        return True

    logger = logging.getLogger("jersey_assets.storage.lock")
    logger.addFilter(end_the_other)
    try:
        with caplog.at_level(logging.INFO):
            assert train(rendered, tmp_path, instance).success
    finally:
        logger.removeFilter(end_the_other)
        holder.kill()
    assert "another-run" in caplog.text
    assert holder.wait() == -signal.SIGKILL
