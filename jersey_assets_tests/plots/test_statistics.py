"""Figures of a dataset, read back from the artists that carry them."""

from __future__ import annotations

import numpy as np

from jersey_assets.plots.statistics import (
    class_counts,
    image_sizes,
    metadata_distributions,
)
from jersey_assets_tests.plots.artists import (
    LABELS,
    bars_of,
    bottoms,
    say_ticks,
    say_title,
    tops,
)


def test_class_counts_stack_the_splits_with_frequent_labels_first() -> None:
    figure = class_counts(LABELS, {"train": [1, 9, 5, 2], "valid": [1, 1, 1, 8]})
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
    figure = image_sizes(widths, heights)
    top, both, side = figure.axes
    assert np.nansum(both.collections[0].get_array()) == 4
    for axes, read in ((top, "get_height"), (side, "get_width")):
        assert sum(getattr(bar, read)() for bar in axes.patches) == 4
    assert "median 17.5 × 20 px" in say_title(top)


def test_crops_of_one_size_are_drawn_too() -> None:
    figure = image_sizes([32], [32])
    assert np.nansum(figure.axes[1].collections[0].get_array()) == 1


def test_metadata_values_are_shown_as_text_whatever_is_in_them() -> None:
    counts = {"jersey_color": {"red": 3, "blue": 1}, "a $x_{": {"$\\frac": 2}}
    figure = metadata_distributions(counts)
    figure.draw_without_rendering()
    colors, other = figure.axes[:2]
    assert say_title(colors) == "jersey_color"
    assert say_ticks(colors) == ["red", "blue"]
    assert [bar.get_width() for bar in colors.patches] == [3, 1]
    assert say_ticks(other) == ["$\\frac"]
