"""Runs that are stopped from outside, as processes of their own."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import torch

from jersey_assets.storage.store import Store
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets_tests.stopped import WAITING, train
from jersey_assets_tests.storage.test_lock import hold

ROOT = Path(__file__).parents[1]


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The instance of a Dagster home with the shipped settings."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        yield instance


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
