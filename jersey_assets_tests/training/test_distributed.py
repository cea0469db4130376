"""Two processes against one, on the same global batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from jersey_assets.training.epochs import Epoch
from jersey_assets.training.errors import Interrupted, TrainingError
from jersey_assets.training.result import Training
from jersey_assets_tests.training.killed import tiny_fit

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.device_count() < 2,
    reason="two processes need two GPUs, or none",
)


# Strong decay leaves so few steps' weights small enough for rounding to decide a crop.
FLOAT32 = {"precision": "32-true", "weight_decay": 0.005}


def assert_close(two: Training, one: Training) -> None:
    for kind in ("state_dict", "raw_state_dict"):
        weights = getattr(two.checkpoint, kind)
        pairs = [
            (weights[name].double().flatten(), value.double().flatten())
            for name, value in getattr(one.checkpoint, kind).items()
        ]
        theirs, ours = (torch.cat(values) for values in zip(*pairs, strict=True))
        # Of all together: Adam divides by a gradient's own size, so that where that is
        # nearly 0 rounding alone decides a step.
        assert (theirs - ours).norm() < 2e-3 * ours.norm()
    for column in ("train_loss", "train_top1", "valid_loss", "valid_top1"):
        values = one.history[column].tolist()
        assert two.history[column].tolist() == pytest.approx(values, rel=1e-3)
    first = one.history["train_loss"][0]
    assert two.history["train_loss"][0] == pytest.approx(first, rel=1e-5)


def test_two_processes_train_what_one_trains() -> None:
    assert_close(tiny_fit(None, devices=2, **FLOAT32), tiny_fit(None, **FLOAT32))


@pytest.mark.slow
def test_two_processes_interrupted_and_resumed_train_what_one_trains(
    tmp_path: Path,
) -> None:
    def interrupt(epoch: Epoch, epochs: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="next run"):
        tiny_fit(tmp_path, report=interrupt, epochs=6, devices=2, **FLOAT32)
    assert signal.getsignal(signal.SIGTERM) == before
    seen: list[int] = []
    two = tiny_fit(
        tmp_path,
        report=lambda epoch, _: seen.append(epoch.epoch),
        epochs=6,
        devices=2,
        **FLOAT32,
    )
    assert seen == list(range(seen[0], 7))
    assert seen[0] > 1
    assert_close(two, tiny_fit(None, epochs=6, **FLOAT32))


@pytest.mark.slow
def test_when_one_process_dies_the_training_fails_and_nothing_is_left_running() -> None:
    def kill_one(epoch: Epoch, epochs: int) -> None:
        multiprocessing.active_children()[1].kill()

    with pytest.raises(RuntimeError, match=r"exit code -9|failed") as caught:
        tiny_fit(None, report=kill_one, epochs=1000, devices=2)
    assert not isinstance(caught.value, TrainingError)  # a retry may go on
    assert not multiprocessing.active_children()


def test_each_device_needs_two_crops_of_a_batch() -> None:
    with pytest.raises(TrainingError, match=r"each of 16 devices .* batch_size is 8"):
        tiny_fit(None, devices=16)
