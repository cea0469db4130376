"""Figures: what they say, read back from the artists that carry it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from jersey_assets.plots import figures

LABELS = ["", "0", "00", "23"]


def say_title(axes: Axes) -> str:
    figure = axes.figure
    title = figure.get_suptitle() if isinstance(figure, Figure) else ""
    return title or axes.get_title(loc="left") or axes.get_title()


def bars_of(axes: Axes) -> list[StepPatch]:
    return [patch for patch in axes.patches if isinstance(patch, StepPatch)]


def tops(bars: StepPatch) -> list[float]:
    return bars.get_data().values[::2].tolist()


def bottoms(bars: StepPatch) -> list[float]:
    return np.asarray(bars.get_data().baseline)[::2].tolist()


def say_ticks(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


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
    loss, top1, rate = figures.training_curves(history).axes
    assert "80.0%, epoch 1" in say_title(top1)
    assert [line.get_label() for line in loss.lines] == ["train", "valid"]
    assert list(top1.lines[1].get_ydata()) == [0.2, 0.8, 0.7]
    assert list(rate.lines[0].get_ydata()) == [1e-4, 1e-3, 1e-5]


def test_training_curves_without_a_single_score_are_still_drawn() -> None:
    scores = ("train_loss", "valid_loss", "train_top1", "valid_top1", "learning_rate")
    history = pd.DataFrame({"epoch": [0]} | {score: [np.nan] for score in scores})
    assert say_title(figures.training_curves(history).axes[1]) == "Top-1"


def test_confusion_matrix_counts_mistakes_and_colours_them_apart() -> None:
    matrix = np.array([[5, 0, 0, 0], [0, 4, 0, 0], [0, 2, 3, 0], [0, 0, 0, 0]])
    (axes,) = figures.confusion_matrix(LABELS, matrix, "valid").axes
    assert say_title(axes) == "Confusion matrix, valid: 2 of 14 wrong"
    assert say_ticks(axes) == ["∅ (none)", "0", "00", "23"]
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "5", (1, 1): "4", (1, 2): "2", (2, 2): "3"}
    pixels = np.asarray(axes.images[0].get_array())
    right, wrong, empty = pixels[0, 0], pixels[2, 1], pixels[0, 1]
    assert right[2] > right[0]
    assert wrong[0] > wrong[2]
    assert empty[:3].min() == 1


def test_confusion_matrix_of_43_classes_keeps_its_labels_apart() -> None:
    labels = ["", "00", *map(str, range(41))]
    figure = figures.confusion_matrix(labels, np.eye(43, dtype=int), "test")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert len(boxes) == 43
    assert all(a.y0 >= b.y1 for a, b in pairwise(boxes))


def test_per_class_accuracy_puts_the_worst_first_and_empty_labels_last() -> None:
    figure = figures.per_class_accuracy(LABELS, [0.9, 0.5, 0.0, 1.0], [10, 4, 0, 20])
    (axes,) = figure.axes
    assert say_ticks(axes) == ["0", "∅ (none)", "23", "00"]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["50% of 4", "90% of 10", "100% of 20", "no rows"]
    below, above = bars_of(axes)
    assert tops(below) == [0.5, 0.9, 0, 0]
    assert tops(above) == [0, 0, 1, 0]
    assert "all rows 91.2%" in say_title(axes)


def test_prediction_grid_frames_mistakes_in_red() -> None:
    images = np.zeros((3, 8, 6, 3), np.uint8)
    figure = figures.prediction_grid(
        images, ["23", "", "7"], ["23", "8", "7"], [0.9, 0.4, 1.0]
    )
    cells = [axes for axes in figure.axes if axes.images]
    assert [cell.get_title() for cell in cells] == [
        "23\n90%",
        "∅ (none) → 8\n40%",
        "7\n100%",
    ]
    assert [cell.spines["left"].get_visible() for cell in cells] == [False, True, False]
    assert to_hex(cells[1].title.get_color()) == figures.RED
    assert to_hex(cells[0].title.get_color()) == figures.GREEN
    assert figure.get_suptitle().startswith("Predictions: 1 of 3")


def test_grad_cam_grid_puts_the_map_over_the_crop_beside_it() -> None:
    images = np.full((2, 8, 8, 3), 100, np.uint8)
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 2, 3] = 1
    figure = figures.grad_cam_grid(images, maps, ["7", ""], ["7", "1"], [0.9, 0.5])
    cells = [axes for axes in figure.axes if axes.images]
    shown = [np.asarray(cell.images[0].get_array()).astype(int) for cell in cells]
    assert (shown[0] == 100).all()
    assert shown[1].sum(-1).argmax() == 2 * 8 + 3
    assert cells[2].get_title() == "∅ (none) → 1\n50%"
    assert [cell.spines["left"].get_visible() for cell in cells] == [
        False,
        False,
        True,
        False,
    ]


def test_crop_grid_takes_crops_of_any_size() -> None:
    crops = [np.full((4 + i, 9, 3), 20 * i, np.uint8) for i in range(11)]
    figure = figures.crop_grid(crops, ["", *["x" * 60] * 10])
    cells = [axes for axes in figure.axes if axes.images]
    assert [np.asarray(cell.images[0].get_array()).shape for cell in cells] == [
        crop.shape for crop in crops
    ]
    assert cells[0].get_title() == "∅ (none)"
    assert len(cells[1].get_title()) < 30


def test_augmented_crops_stand_beside_the_crop_they_are_drawn_from() -> None:
    images = np.arange(2 * 8 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 8, 4, 4, 3)
    cells = figures.augmented_crops(images).axes
    assert [np.asarray(cell.images[0].get_array()).tolist() for cell in cells] == [
        image.tolist() for row in images for image in row
    ]
    assert [bool(cell.get_title()) for cell in cells] == 2 * [True, *[False] * 7]


def test_class_counts_stack_the_splits_with_frequent_labels_first() -> None:
    figure = figures.class_counts(
        LABELS, {"train": [1, 9, 5, 2], "valid": [1, 1, 1, 8]}
    )
    (axes,) = figure.axes
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["0", "23", "00", "∅ (none)"]
    train, valid = bars_of(axes)
    assert tops(train) == [9, 2, 5, 1]
    assert bottoms(valid) == [9, 2, 5, 1]
    assert tops(valid) == [10, 10, 6, 2]
    assert train.get_label() == "train: 17"


def test_image_sizes_count_every_crop_once() -> None:
    widths, heights = np.array([10, 10, 300, 25]), np.array([20, 20, 20, 45])
    figure = figures.image_sizes(widths, heights)
    top, both, side = figure.axes
    assert np.nansum(both.collections[0].get_array()) == 4
    for axes, read in ((top, "get_height"), (side, "get_width")):
        assert sum(getattr(bar, read)() for bar in axes.patches) == 4
    assert "median 17.5 × 20 px" in say_title(top)


def test_crops_of_one_size_are_drawn_too() -> None:
    figure = figures.image_sizes([32], [32])
    assert np.nansum(figure.axes[1].collections[0].get_array()) == 1


def test_error_histogram_tells_the_largest_and_the_equal() -> None:
    (axes,) = figures.error_histogram(np.array([[0, 1e-7], [2e-5, 0]])).axes
    assert say_title(axes) == "Absolute differences of 4 logits; 2 are equal"
    assert "max 2e-05" in axes.texts[0].get_text()
    assert sum(bar.get_height() for bar in axes.patches) == 2


def test_error_histogram_of_equal_logits_says_so() -> None:
    (axes,) = figures.error_histogram(np.zeros(3)).axes
    assert axes.texts[0].get_text() == "no difference at all"


def test_logits_scatter_shows_the_largest_gap() -> None:
    ours = np.array([[1.0, -2.0], [0.5, 3.0]])
    (axes,) = figures.logits_scatter(ours, ours + np.array([[0, 0], [0.25, 0]])).axes
    assert say_title(axes) == "4 logits; at most 0.25 apart"
    assert len(axes.collections[0].get_offsets()) == 4


def test_latency_curves_have_a_panel_for_each_thread_count() -> None:
    rows = [
        {"runtime": name, "threads": threads, "batch_size": size, "milliseconds": ms}
        for name, ms in (("onnxruntime", 2.0), ("PyTorch", 5.0))
        for threads in (1, 2)
        for size in (1, 8)
    ]
    one, two = figures.latency_curves(rows).axes
    assert [say_title(one), say_title(two)] == ["1 thread", "2 threads"]
    assert [line.get_label() for line in two.lines] == ["onnxruntime", "PyTorch"]
    assert list(two.lines[1].get_xdata()) == [1, 8]
    assert list(two.lines[1].get_ydata()) == [5.0, 5.0]


def test_metadata_values_are_shown_as_text_whatever_is_in_them() -> None:
    counts = {"jersey_color": {"red": 3, "blue": 1}, "a $x_{": {"$\\frac": 2}}
    figure = figures.metadata_distributions(counts)
    figure.draw_without_rendering()
    colors, other = figure.axes[:2]
    assert say_title(colors) == "jersey_color"
    assert say_ticks(colors) == ["red", "blue"]
    assert [bar.get_width() for bar in colors.patches] == [3, 1]
    assert say_ticks(other) == ["$\\frac"]


@pytest.mark.parametrize("of", ["test", "valid, epoch 120"])
@pytest.mark.parametrize("size", [1, 2, 5, 42])
def test_no_title_is_cut(size: int, of: str) -> None:
    labels = list(map(str, range(size)))
    counts = np.full(size, 123_456)
    for figure in (
        figures.confusion_matrix(labels, np.diag(counts), of),
        figures.per_class_accuracy(labels, np.ones(size), counts),
        figures.class_counts(labels, {"train": counts}),
        figures.image_sizes(counts, counts),
        figures.prediction_grid(
            np.zeros((size, 4, 4, 3), np.uint8), labels, labels, [1.0] * size
        ),
        figures.grad_cam_grid(
            np.zeros((size, 4, 4, 3), np.uint8),
            np.zeros((size, 4, 4), np.float32),
            labels,
            labels,
            [1.0] * size,
        ),
        figures.augmented_crops(np.zeros((size, 1, 4, 4, 3), np.uint8)),
    ):
        figure.draw_without_rendering()
        texts = [*figure.texts, *(axes._left_title for axes in figure.axes)]
        for text in texts:
            if text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= 0, text
                assert box.x1 <= figure.bbox.x1, text
                assert box.y1 <= figure.bbox.y1, text


def many_labels(size: int) -> list[str]:
    """Labels as a dataset of so many has them: 0-99 and "", or three digits."""
    if size <= 101:
        return sorted(["", *map(str, range(size - 1))])
    return [f"{number:03}" for number in range(size)]


@pytest.mark.parametrize("size", [101, 200, 1000])
def test_figures_of_very_many_labels_stay_small(size: int) -> None:
    labels = many_labels(size)
    matrix = np.random.default_rng(0).poisson(3, (size, size))
    counts = matrix.sum(1)
    for figure in (
        figures.confusion_matrix(labels, matrix, "test"),
        figures.per_class_accuracy(labels, matrix.diagonal() / counts, counts),
        figures.class_counts(labels, {"train": counts, "valid": counts}),
    ):
        (axes,) = figure.axes
        assert max(figure.get_figwidth(), figure.get_figheight()) <= 20
        # What matplotlib draws slowly: texts, ticks and patches.
        assert len(axes.texts) <= 120
        named = 101 if size == 101 else 25
        assert max(len(axes.get_xticks()), len(axes.get_yticks())) == named
        assert len(axes.get_xticks(minor=True)) == 0
        assert len(axes.get_children()) < 150


def test_a_single_mistake_among_a_thousand_labels_is_seen() -> None:
    matrix = 50 * np.eye(1000, dtype=int)
    matrix[10, 983] = 5
    (axes,) = figures.confusion_matrix(many_labels(1000), matrix, "test").axes
    pixels = np.asarray(axes.images[0].get_array())
    assert len(pixels) == 250
    colored = {tuple(place) for place in np.argwhere(pixels[..., :3].min(-1) < 0.99)}
    assert colored - {(i, i) for i in range(250)} == {(10 // 4, 983 // 4)}
    red, green, blue = pixels[10 // 4, 983 // 4, :3]
    assert red > max(green, blue) + 0.1


def test_long_and_odd_labels_are_cut_and_escaped() -> None:
    labels = ["x" * 1_000_000, "a\nb", "\x1b[31m", "\u202e12"]
    figure = figures.class_counts(labels, {"train": [4, 3, 2, 1]})
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == ["x" * 12 + "…", "a\\nb", "\\x1b[31m", "\\u202e12"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.metadata_distributions({}),
        lambda: figures.prediction_grid(np.zeros((0, 4, 4, 3), np.uint8), [], [], []),
        lambda: figures.crop_grid([], []),
        lambda: figures.logits_scatter([], []),
        lambda: figures.latency_curves([]),
    ],
)
def test_nothing_to_show_is_no_error(draw: Callable[[], Figure]) -> None:
    draw().draw_without_rendering()


def test_drawing_never_imports_pyplot_nor_changes_the_callers_style() -> None:
    code = (
        "import sys, matplotlib\n"
        "matplotlib.rcParams['font.size'] = 31\n"
        "from jersey_assets.plots import figures\n"
        "figure = figures.error_histogram([1e-6, 2e-6])\n"
        "assert matplotlib.rcParams['font.size'] == 31\n"
        "assert figure.axes[0].xaxis.label.get_size() < 31\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
