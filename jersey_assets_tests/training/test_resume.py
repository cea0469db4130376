"""Training that is stopped and goes on: the same bits as one that never was."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jersey_assets.training import resume
from jersey_assets.training.augment.augmentation import augment
from jersey_assets.training.checkpoint import load_checkpoint
from jersey_assets.training.checks import verdicts
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.epochs import Epoch, kept
from jersey_assets.training.errors import Interrupted
from jersey_assets.training.evaluation import evaluate
from jersey_assets.training.fit import fit
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Augmentation, Recipe
from jersey_assets.training.record import Record, ThreadChoice
from jersey_assets.training.result import Training
from jersey_assets.training.resume import ResumeFolder, State, remove_finished
from jersey_assets_tests.training.conftest import SIZE, data_of
from jersey_assets_tests.training.killed import MOMENTS, tiny_fit

BATCHES, EPOCHS = 5, 3
# 5 batches, 2 per optimizer step: steps after batches 1, 3 and the last.
KNOBS = {
    "image_size": SIZE,
    "epochs": EPOCHS,
    "batch_size": 8,
    "accumulate": 2,
    "learning_rate": 0.003,
    "threads": 1,
}


@pytest.fixture(scope="module")
def few(train: Crops) -> Crops:
    count = 8 * BATCHES + 3
    return Crops(train.images[:count], train.targets[:count], train.names[:count])


@pytest.fixture
def run(labels: list[str], few: Crops, valid: Crops) -> Callable[..., Training]:
    def run(scratch: Path | None = None, data: Crops = few, **knobs: Any) -> Training:
        recipe = Recipe.model_validate(KNOBS | knobs)
        plan = Plan(recipe, data_of(labels, data, valid))
        return fit(plan, lambda *_: None, scratch)

    return run


@pytest.fixture(scope="module")
def whole(labels: list[str], few: Crops, valid: Crops) -> Training:
    """A training that nothing interrupts."""
    recipe = Recipe.model_validate(KNOBS)
    return fit(Plan(recipe, data_of(labels, few, valid)), lambda *_: None)


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
    measured = ("seconds", "images_per_second", "train_images_per_second")
    clocks = dict.fromkeys([*measured, "peak_memory_mb"], 0)
    assert one.summary | clocks == other.summary | clocks
    assert one.confusions.keys() == other.confusions.keys()
    for epoch, counts in one.confusions.items():
        assert (counts == other.confusions[epoch]).all()


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


@pytest.fixture
def interrupted(run, interrupt_at, tmp_path: Path) -> Path:
    """The resume folder of a training that was interrupted in its second epoch."""
    interrupt_at(1, 1)
    with pytest.raises(Interrupted):
        run(tmp_path)
    (folder,) = tmp_path.iterdir()
    return folder


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("resume_*.ckpt", cut),
        ("resume_*.ckpt", flip_a_bit),
        ("epoch_*.ckpt", Path.unlink),
        ("state.json", cut),
        ("state.json", flip_a_bit),
    ],
)
def test_damaged_work_is_not_resumed_and_the_log_says_so(
    interrupted: Path, run, whole: Training, caplog, name: str, damage
) -> None:
    (path,) = interrupted.glob(name)
    damage(path)
    with caplog.at_level(logging.INFO):
        again = run(interrupted.parent)
    assert "resuming" not in caplog.text
    assert_same(again, whole)
    assert "starting from scratch" in caplog.text


@pytest.mark.parametrize("change", ["recipe", "label", "pixel", "code"])
def test_work_of_another_training_is_not_resumed(
    interrupted: Path, run, few: Crops, caplog, monkeypatch, change: str
) -> None:
    data, knobs = few, {}
    if change == "recipe":
        knobs = {"learning_rate": 0.002}
    elif change == "label":
        targets = few.targets.clone()
        targets[0] = (targets[0] + 1) % 3
        data = replace(few, targets=targets)
    elif change == "pixel":
        images = few.images.clone()
        images[0, 0, 0, 0] ^= 1
        data = replace(few, images=images)
    else:
        monkeypatch.setattr(resume, "code_version", lambda module: "other")
    with caplog.at_level(logging.INFO):
        run(interrupted.parent, data, epochs=KNOBS["epochs"], **knobs)
    reason = {"recipe": "recipe", "code": "code"}.get(change, "data")
    assert f"used other {reason}" in caplog.text
    assert "resuming" not in caplog.text


def test_work_that_was_moved_under_another_key_is_refused(
    interrupted: Path, run, caplog
) -> None:
    other = interrupted.parent / "other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "code_version", lambda module: "other")
        run(other)
    (target,) = other.iterdir()
    shutil.rmtree(target)
    shutil.copytree(interrupted, target)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr(resume, "code_version", lambda module: "other")
        run(other)
    assert "starting from scratch" in caplog.text
    assert "other code" in caplog.text


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trainings that were killed while they saved, by the moment."""
    scratches, processes = {}, []
    for moment in MOMENTS:
        scratches[moment] = tmp_path_factory.mktemp("killed")
        module = "jersey_assets_tests.training.killed"
        command = [sys.executable, "-m", module, str(scratches[moment]), moment]
        processes.append(subprocess.Popen(command))
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3
    return scratches


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_in_the_middle_of_a_save_leaves_work_to_resume(
    killed: dict[str, Path], moment: str, caplog
) -> None:
    (folder,) = killed[moment].iterdir()
    step = json.loads((folder / "state.json").read_text())["state"]["step"]
    assert step == (5 if moment == "before the clean-up" else 4)
    with caplog.at_level(logging.INFO):
        resumed = tiny_fit(killed[moment])
    assert f"resuming at epoch 2, step {step}" in caplog.text
    assert_same(resumed, tiny_fit(None))
