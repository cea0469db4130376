"""Training that is stopped and goes on: the same bits as one that never was."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from jersey_assets.training.augment.augmentation import augment
from jersey_assets.training.checkpoint import load_checkpoint
from jersey_assets.training.checks import verdicts
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.epochs import Epoch, kept
from jersey_assets.training.errors import Interrupted
from jersey_assets.training.evaluation import evaluate
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.recipe import Augmentation
from jersey_assets.training.record import Record, ThreadChoice
from jersey_assets.training.result import Training
from jersey_assets.training.resume import ResumeFolder, State, remove_finished
from jersey_assets_tests.training.resuming import BATCHES, EPOCHS, assert_same


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


def test_the_same_seed_gives_the_same_augmented_crops(few: Crops) -> None:
    first, second, other = (
        augment(few.images, Augmentation(), torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_finished_training_that_was_not_collected_gives_its_model_again(
    run, whole: Training, tmp_path: Path
) -> None:
    run(tmp_path)
    assert_same(run(tmp_path), whole)
    remove_finished(tmp_path)
    assert not list(tmp_path.iterdir())


def test_patience_counts_the_epochs_before_the_interruption(
    run, interrupt_at, tmp_path: Path
) -> None:
    knobs = {"epochs": 12, "patience": 2, "learning_rate": 1e-9}
    stopped = run(**knobs)
    assert stopped.summary["epochs"] < 12
    interrupt_at(stopped.summary["epochs"] - 1, 0)
    with pytest.raises(Interrupted):
        run(tmp_path, **knobs)
    assert_same(run(tmp_path, **knobs), stopped)


def test_resumed_weights_are_the_averaged_ones(
    run, interrupt_at, valid: Crops, tmp_path: Path
) -> None:
    interrupt_at(2, 1)
    with pytest.raises(Interrupted):
        run(tmp_path)
    resumed = run(tmp_path)
    for verdict in verdicts(resumed.checkpoint, resumed.summary, valid)[:2]:
        assert verdict.passed, verdict.message


def test_a_record_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    record = Record(
        epochs=[Epoch(1, 2.5, 0.1, 2.25, 0.2, 0.7, 1e-3, 9.75)],
        seconds=12.5,
        device="cpu",
        precision="32-true",
        threads=[ThreadChoice(0, 2), ThreadChoice(7, 1)],
        train_images=320,
        train_seconds=8.5,
        peak_memory_mb=700,
        peak_gpu_memory_mb=90,
        confusions={2: [[3, 0], [1, 2]], 10: [[3, 0], [0, 3]]},
    )
    state = State(record, step=9, resume="resume_000009.ckpt")
    folder = ResumeFolder(tmp_path / "key", {"recipe": "a", "code": "b"})
    folder.save(state, {state.resume: lambda path: path.write_bytes(b"weights")})
    assert folder.load() == state
    other = ResumeFolder(folder.path, {"recipe": "a", "code": "c"})
    assert other.load() == State()
    assert not folder.path.exists()


def test_kept_are_the_best_three_and_the_last_with_ties_broken_by_loss() -> None:
    def epoch(number: int, top1: float, loss: float) -> Epoch:
        return Epoch(number, 1.0, 0.5, loss, top1, 1.0, 0.1, 1.0)

    scores = [(0.9, 0.5), (0.9, 0.4), (0.2, 0.1), (0.9, 0.4), (0.8, 0.1), (0.1, 9)]
    epochs = [epoch(n, *score) for n, score in enumerate(scores, 1)]
    assert [e.epoch for e in kept(epochs)] == [2, 4, 1, 6]
    assert [e.epoch for e in kept(epochs[:2])] == [2, 1]


def test_the_kept_epochs_are_files_with_the_weights_they_are_named_for(
    whole: Training, valid: Crops, tmp_path: Path
) -> None:
    whole.write(tmp_path)
    assert len(whole.summary["kept"]) == EPOCHS
    for entry in whole.summary["kept"]:
        checkpoint = load_checkpoint(tmp_path / entry["file"])
        seen = evaluate(checkpoint, "valid", valid)
        assert seen.top1 == pytest.approx(entry["valid_top1"])
        assert seen.loss == pytest.approx(entry["valid_loss"], rel=1e-4)
