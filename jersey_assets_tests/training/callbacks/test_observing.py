"""What a training tells while it runs and after: progress, matrices, speed."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from jersey_assets.training import module
from jersey_assets.training.callbacks import progress
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.epochs import Epoch
from jersey_assets.training.evaluation import evaluate
from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import quick_fit


@pytest.fixture(scope="module")
def observed(labels: list[str], train: Crops, valid: Crops) -> Training:
    return quick_fit(labels, train, valid, epochs=5, confusion_every=2)


def test_progress_is_said_with_percent_speed_and_time_left(
    labels: list[str],
    train: Crops,
    valid: Crops,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 1e9)
    quick_fit(labels, train, valid)
    assert not [r for r in caplog.records if r.name == progress.__name__]
    caplog.clear()
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    quick_fit(labels, train, valid)
    lines = [r.getMessage() for r in caplog.records if r.name == progress.__name__]
    assert len(lines) == 2 * 5
    form = (
        r"epoch (\d)/2: (\d+) % of the epoch, (\d+) % of the training, "
        r"(\d+) images/s, (\d+) s left"
    )
    read = [[int(n) for n in re.fullmatch(form, line).groups()] for line in lines]  # type: ignore[union-attr]
    assert [row[1] for row in read] == 2 * [20, 40, 60, 80, 100]
    assert [row[2] for row in read] == list(range(10, 101, 10))
    assert min(row[3] for row in read) > 0
    assert read[-1][4] == 0


def test_the_time_left_is_estimated_in_one_place(observed: Training) -> None:
    epoch = Epoch(**observed.history.iloc[0].to_dict())
    assert "left" not in epoch.line(5)
    assert f"{epoch.valid_top1:.1%}" in epoch.line(5)


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.4, "7 s"), (600, "10 min"), (11_100, "3 h 5 min")]
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


def test_the_best_epochs_matrix_is_kept_and_those_asked_for(
    observed: Training, valid: Crops, tmp_path: Path
) -> None:
    best = observed.summary["best_epoch"]
    assert set(observed.confusions) == {best, 2, 4}
    for epoch, counts in observed.confusions.items():
        assert counts.sum() == len(valid)
        row = observed.history.set_index("epoch").loc[epoch]
        assert counts.trace() / len(valid) == pytest.approx(row["valid_top1"])
    again = evaluate(observed.checkpoint, "valid", valid).confusion()
    assert (observed.confusions[best] == again).all()
    observed.write(tmp_path)
    drawn = {path.name for path in tmp_path.glob("confusion*.png")}
    others = {f"confusion_epoch_{epoch:03}.png" for epoch in {2, 4} - {best}}
    assert drawn == {"confusion.png"} | others


def test_matrices_take_no_second_forward_pass(
    labels: list[str], train: Crops, valid: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    normalize = module.normalize

    def counting(images: torch.Tensor, *statistics: Any) -> torch.Tensor:
        calls.append(len(images))
        return normalize(images, *statistics)

    monkeypatch.setattr(module, "normalize", counting)
    quick_fit(labels, train, valid, confusion_every=1)
    assert sum(calls) == 2 * (160 + len(valid))


def test_speed_and_memory_are_measured(observed: Training) -> None:
    summary = observed.summary
    # Of the training steps alone, whose time is a part of the whole.
    assert summary["train_images_per_second"] >= summary["images_per_second"] > 0
    assert summary["peak_memory_mb"] > 100
    assert summary["trainable"] == summary["parameters"]
