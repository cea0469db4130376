"""Figures of two runtimes, read back from the artists that carry them."""

from __future__ import annotations

import numpy as np

from jersey_assets.plots.runtimes import error_histogram, latency_curves, logits_scatter
from jersey_assets_tests.plots.artists import say_title


def test_error_histogram_tells_the_largest_and_the_equal() -> None:
    (axes,) = error_histogram(np.array([[0, 1e-7], [2e-5, 0]])).axes
    assert say_title(axes) == "Absolute differences of 4 logits; 2 are equal"
    assert "max 2e-05" in axes.texts[0].get_text()
    assert sum(bar.get_height() for bar in axes.patches) == 2


def test_error_histogram_of_equal_logits_says_so() -> None:
    (axes,) = error_histogram(np.zeros(3)).axes
    assert axes.texts[0].get_text() == "no differences"


def test_logits_scatter_shows_the_largest_gap() -> None:
    ours = np.array([[1.0, -2.0], [0.5, 3.0]])
    (axes,) = logits_scatter(ours, ours + np.array([[0, 0], [0.25, 0]])).axes
    assert say_title(axes) == "4 logits; at most 0.25 apart"
    assert len(axes.collections[0].get_offsets()) == 4


def test_latency_curves_have_a_panel_for_each_thread_count() -> None:
    rows = [
        {"runtime": name, "threads": threads, "batch_size": size, "milliseconds": ms}
        for name, ms in (("onnxruntime", 2.0), ("PyTorch", 5.0))
        for threads in (1, 2)
        for size in (1, 8)
    ]
    one, two = latency_curves(rows).axes
    assert [say_title(one), say_title(two)] == ["1 thread", "2 threads"]
    assert [line.get_label() for line in two.lines] == ["onnxruntime", "PyTorch"]
    assert list(two.lines[1].get_xdata()) == [1, 8]
    assert list(two.lines[1].get_ydata()) == [5.0, 5.0]
