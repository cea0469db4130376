"""Confusion matrix and accuracy per label, read back from their artists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from jersey_assets.plots.accuracy import confusion_matrix, per_class_accuracy
from jersey_assets_tests.plots.artists import (
    LABELS,
    bars_of,
    many_labels,
    say_ticks,
    say_title,
    tops,
)


def test_confusion_matrix_counts_mistakes_and_colours_them_apart() -> None:
    matrix = np.array([[5, 0, 0, 0], [0, 4, 0, 0], [0, 2, 3, 0], [0, 0, 0, 0]])
    (axes,) = confusion_matrix(LABELS, matrix, "valid").axes
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
    figure = confusion_matrix(labels, np.eye(43, dtype=int), "test")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert len(boxes) == 43
    assert all(a.y0 >= b.y1 for a, b in pairwise(boxes))


def test_per_class_accuracy_puts_the_worst_first_and_empty_labels_last() -> None:
    figure = per_class_accuracy(LABELS, [0.9, 0.5, 0.0, 1.0], [10, 4, 0, 20])
    (axes,) = figure.axes
    assert say_ticks(axes) == ["0", "∅ (none)", "23", "00"]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["50% of 4", "90% of 10", "100% of 20", "no rows"]
    below, above = bars_of(axes)
    assert tops(below) == [0.5, 0.9, 0, 0]
    assert tops(above) == [0, 0, 1, 0]
    assert "all rows 91.2%" in say_title(axes)


def test_a_single_mistake_among_a_thousand_labels_is_seen() -> None:
    matrix = 50 * np.eye(1000, dtype=int)
    matrix[10, 983] = 5
    (axes,) = confusion_matrix(many_labels(1000), matrix, "test").axes
    pixels = np.asarray(axes.images[0].get_array())
    assert len(pixels) == 250
    colored = {tuple(place) for place in np.argwhere(pixels[..., :3].min(-1) < 0.99)}
    assert colored - {(i, i) for i in range(250)} == {(10 // 4, 983 // 4)}
    red, green, blue = pixels[10 // 4, 983 // 4, :3]
    assert red > max(green, blue) + 0.1
