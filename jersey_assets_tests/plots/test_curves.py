"""Training curves: what they say, read back from the artists that carry it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jersey_assets.plots.curves import training_curves
from jersey_assets_tests.plots.artists import say_title


def test_training_curves_mark_the_best_epoch_on_valid() -> None:
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "train_loss": [3.0, 2.0, 1.0],
            "valid_loss": [3.1, 2.1, 2.2],
            "train_top1": [0.1, 0.5, 0.9],
            "valid_top1": [0.2, 0.8, 0.7],
            "learning_rate": [1e-4, 1e-3, 1e-5],
        }
    )
    loss, top1, rate = training_curves(history).axes
    assert "80.0%, epoch 1" in say_title(top1)
    assert [line.get_label() for line in loss.lines] == ["train", "valid"]
    assert list(top1.lines[1].get_ydata()) == [0.2, 0.8, 0.7]
    assert list(rate.lines[0].get_ydata()) == [1e-4, 1e-3, 1e-5]


def test_training_curves_without_a_single_score_are_still_drawn() -> None:
    scores = ("train_loss", "valid_loss", "train_top1", "valid_top1", "learning_rate")
    history = pd.DataFrame({"epoch": [0]} | {score: [np.nan] for score in scores})
    assert say_title(training_curves(history).axes[1]) == "Top-1"
