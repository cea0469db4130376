"""What all figures keep to, whatever they show."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from jersey_assets.plots.accuracy import confusion_matrix, per_class_accuracy
from jersey_assets.plots.grids import (
    augmented_crops,
    crop_grid,
    grad_cam_grid,
    prediction_grid,
)
from jersey_assets.plots.runtimes import latency_curves, logits_scatter
from jersey_assets.plots.statistics import (
    class_counts,
    image_sizes,
    metadata_distributions,
)
from jersey_assets_tests.plots.artists import many_labels


@pytest.mark.parametrize("of", ["test", "valid, epoch 120"])
@pytest.mark.parametrize("size", [1, 2, 5, 42])
def test_no_title_is_cut(size: int, of: str) -> None:
    labels = list(map(str, range(size)))
    counts = np.full(size, 123_456)
    for figure in (
        confusion_matrix(labels, np.diag(counts), of),
        per_class_accuracy(labels, np.ones(size), counts),
        class_counts(labels, {"train": counts}),
        image_sizes(counts, counts),
        prediction_grid(
            np.zeros((size, 4, 4, 3), np.uint8), labels, labels, [1.0] * size
        ),
        grad_cam_grid(
            np.zeros((size, 4, 4, 3), np.uint8),
            np.zeros((size, 4, 4), np.float32),
            labels,
            labels,
            [1.0] * size,
        ),
        augmented_crops(np.zeros((size, 1, 4, 4, 3), np.uint8)),
    ):
        figure.draw_without_rendering()
        texts = [*figure.texts, *(axes._left_title for axes in figure.axes)]
        for text in texts:
            if text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= 0, text
                assert box.x1 <= figure.bbox.x1, text
                assert box.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("size", [101, 200, 1000])
def test_figures_of_very_many_labels_stay_small(size: int) -> None:
    labels = many_labels(size)
    matrix = np.random.default_rng(0).poisson(3, (size, size))
    counts = matrix.sum(1)
    for figure in (
        confusion_matrix(labels, matrix, "test"),
        per_class_accuracy(labels, matrix.diagonal() / counts, counts),
        class_counts(labels, {"train": counts, "valid": counts}),
    ):
        (axes,) = figure.axes
        assert max(figure.get_figwidth(), figure.get_figheight()) <= 20
        # What matplotlib draws slowly: texts, ticks and patches.
        assert len(axes.texts) <= 120
        named = 101 if size == 101 else 25
        assert max(len(axes.get_xticks()), len(axes.get_yticks())) == named
        assert len(axes.get_xticks(minor=True)) == 0
        assert len(axes.get_children()) < 150


def test_long_and_odd_labels_are_cut_and_escaped() -> None:
    labels = ["x" * 1_000_000, "a\nb", "\x1b[31m", "\u202e12"]
    figure = class_counts(labels, {"train": [4, 3, 2, 1]})
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == ["x" * 12 + "…", "a\\nb", "\\x1b[31m", "\\u202e12"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: metadata_distributions({}),
        lambda: prediction_grid(np.zeros((0, 4, 4, 3), np.uint8), [], [], []),
        lambda: crop_grid([], []),
        lambda: logits_scatter([], []),
        lambda: latency_curves([]),
    ],
)
def test_nothing_to_show_is_no_error(draw: Callable[[], Figure]) -> None:
    draw().draw_without_rendering()


def test_drawing_never_imports_pyplot_nor_changes_the_callers_style() -> None:
    code = (
        "import sys, matplotlib\n"
        "matplotlib.rcParams['font.size'] = 31\n"
        "from jersey_assets.plots.runtimes import error_histogram\n"
        "figure = error_histogram([1e-6, 2e-6])\n"
        "assert matplotlib.rcParams['font.size'] == 31\n"
        "assert figure.axes[0].xaxis.label.get_size() < 31\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
