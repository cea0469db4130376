"""Training that is stopped and goes on: the same bits as one that never was."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jersey_assets.training.crops import Crops
from jersey_assets.training.errors import Interrupted
from jersey_assets.training.fit import Training, fit
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.training.conftest import SIZE, STATISTICS

BATCHES, EPOCHS = 5, 3
# 5 batches, 2 per optimizer step: steps after batches 1, 3 and the last.
KNOBS = {
    "image_size": SIZE,
    "epochs": EPOCHS,
    "batch_size": 8,
    "accumulate": 2,
    "learning_rate": 0.003,
}


@pytest.fixture(scope="module")
def few(train: Crops) -> Crops:
    count = 8 * BATCHES + 3
    return Crops(train.images[:count], train.targets[:count], train.names[:count])


@pytest.fixture
def run(labels: list[str], few: Crops, valid: Crops) -> Callable[..., Training]:
    def run(scratch: Path | None = None, data: Crops = few, **knobs: Any) -> Training:
        recipe = Recipe.model_validate(KNOBS | knobs)
        return fit(recipe, labels, data, valid, STATISTICS, lambda *_: None, scratch)

    return run


@pytest.fixture(scope="module")
def whole(labels: list[str], few: Crops, valid: Crops) -> Training:
    """A training that nothing interrupts."""
    recipe = Recipe.model_validate(KNOBS)
    return fit(recipe, labels, few, valid, STATISTICS, lambda *_: None)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sends this process a real signal within a step."""

    def arrange(
        epoch: int, batch: int, step: str = "training", number: int = signal.SIGTERM
    ) -> None:
        name = f"{step}_step"
        original = getattr(TrainingModule, name)
        sent: list[bool] = []

        def interrupting(module: TrainingModule, data: Any, index: int) -> Any:
            if (module.current_epoch, index) == (epoch, batch) and not sent:
                sent.append(True)
                os.kill(os.getpid(), number)
            return original(module, data, index)

        monkeypatch.setattr(TrainingModule, name, interrupting)

    return arrange


def assert_same(one: Training, other: Training) -> None:
    """Weights to the bit, and everything else but the clock."""
    assert one.others.keys() == other.others.keys()
    pairs = [(one.checkpoint, other.checkpoint)]
    pairs += [(one.others[name], other.others[name]) for name in one.others]
    for a, b in pairs:
        for kind in ("state_dict", "raw_state_dict"):
            weights, others = getattr(a, kind), getattr(b, kind)
            assert weights.keys() == others.keys()
            for name, value in weights.items():
                assert torch.equal(value, others[name]), name
        bare = {"state_dict": {}, "raw_state_dict": {}, "sha256": ""}
        assert replace(a, **bare) == replace(b, **bare)
    columns = [name for name in one.history if name != "seconds"]
    assert one.history[columns].equals(other.history[columns])
    clocks = {"seconds": 0, "images_per_second": 0}
    assert one.summary | clocks == other.summary | clocks


@pytest.mark.parametrize(
    ("epoch", "batch", "step"),
    [
        (0, 0, "training"),  # within the first accumulation
        (0, 1, "training"),
        (1, 2, "training"),  # within an accumulation
        (1, 3, "training"),
        (1, BATCHES - 1, "training"),  # the epoch's last batch
        (0, 0, "validation"),
        (EPOCHS - 1, BATCHES - 1, "training"),  # the last of all
        (EPOCHS - 1, 0, "validation"),
    ],
)
def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(
    run, whole: Training, interrupt_at, tmp_path: Path, caplog, epoch, batch, step
) -> None:
    caplog.set_level(logging.INFO)
    interrupt_at(epoch, batch, step)
    with pytest.raises(Interrupted):
        run(tmp_path)
    resumed = run(tmp_path)
    assert_same(resumed, whole)
    last = epoch == EPOCHS - 1
    assert ("resuming at epoch" in caplog.text) != last


def test_interrupted_at_every_batch_it_still_has_the_same_bits(
    run, whole: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.training_step

    def interrupting(module: TrainingModule, data: Any, index: int) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(module, data, index)

    monkeypatch.setattr(TrainingModule, "training_step", interrupting)
    interruptions = 0
    while True:
        try:
            resumed = run(tmp_path)
            break
        except Interrupted:
            interruptions += 1
    assert interruptions == 3 * EPOCHS
    assert_same(resumed, whole)


def test_the_signal_handlers_of_before_are_put_back(
    run, interrupt_at, tmp_path: Path
) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    interrupt_at(0, 1)
    with pytest.raises(Interrupted):
        run(tmp_path)
    run(tmp_path)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_training_outside_the_main_thread_works(run, whole: Training) -> None:
    results: list[Training] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    assert_same(results[0], whole)
