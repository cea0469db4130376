"""Draws a dataset's statistics: labels, sizes of crops, metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jersey_assets.plots.style import (
    BLUE,
    MUTED,
    ORANGE,
    SHADES,
    SPLIT_COLORS,
    Numbers,
    fill_bars,
    fit_text,
    in_our_style,
    pitch_of,
    say,
    tick_size,
    ticks_of,
)


@in_our_style
def class_counts(
    labels: Sequence[str], counts_by_split: Mapping[str, Numbers]
) -> Figure:
    """Draws how many rows each label has, the splits stacked, frequent labels first.

    Args:
        labels: any order.
        counts_by_split: split -> count per label.
    """
    counts = {split: np.asarray(values) for split, values in counts_by_split.items()}
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    size = len(labels)
    pitch = pitch_of(size, 0.24, 0.13, 10)
    figure = Figure(figsize=(max(6, 1.5 + pitch * size), 3.8))
    axes = figure.subplots()
    base = np.zeros(size)
    for split, values in counts.items():
        color = SPLIT_COLORS.get(split, MUTED)
        label = f"{split}: {int(values.sum()):,}"
        fill_bars(axes, values[order], color, base, label=label)
        base += values[order]
    ticks, names = ticks_of([labels[i] for i in order])
    axes.set_xticks(
        ticks,
        names,
        rotation=90 if size > 12 else 0,
        fontsize=tick_size(size, pitch),
    )
    axes.set_xlim(-0.7, size - 0.3)
    axes.set_ylim(0, max(float(base.max(initial=0)), 1) * 1.05)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set(title="Rows per label", ylabel="rows")
    axes.legend()
    return figure


@in_our_style
def image_sizes(widths: Numbers, heights: Numbers) -> Figure:
    """Draws the crops' sizes in px: how many of each, and each side separately."""
    x, y = np.asarray(widths), np.asarray(heights)
    x_bins, y_bins = _pixel_bins(x), _pixel_bins(y)
    figure = Figure(figsize=(6.4, 5.6))
    axes = figure.subplot_mosaic(
        [["top", "."], ["both", "side"]], width_ratios=[4, 1], height_ratios=[1, 4]
    )
    both = axes["both"]
    both.hist2d(x, y, bins=(x_bins, y_bins), cmin=1, cmap=SHADES, norm=LogNorm(0.3))
    axes["top"].hist(x, bins=list(x_bins), color=BLUE)
    axes["side"].hist(y, bins=list(y_bins), color=BLUE, orientation="horizontal")
    for name in ("top", "side"):
        axes[name].tick_params(labelbottom=name == "side", labelleft=name == "top")
    axes["top"].sharex(both)
    axes["side"].sharey(both)
    middle_x, middle_y = np.median(x), np.median(y)
    both.axvline(middle_x, color=ORANGE, linewidth=1)
    both.axhline(middle_y, color=ORANGE, linewidth=1)
    both.set(xlabel="width, px", ylabel="height, px")
    axes["top"].set_title(
        f"Sizes of {len(x):,} crops; median {middle_x:g} × {middle_y:g} px (orange)"
    )
    return figure


def _pixel_bins(sides: np.ndarray[Any, np.dtype[Any]]) -> list[float]:
    """Edges of at most 40 bins, each holding the same number of whole pixels."""
    low, high = int(sides.min()), int(sides.max())
    step = max(-(-(high - low + 1) // 40), 1)
    return [float(edge) - 0.5 for edge in range(low, high + step + 1, step)]


@in_our_style
def metadata_distributions(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draws how often each value of each metadata key occurs, one panel per key.

    Args:
        counts: key -> value -> rows.
    """
    columns = min(max(len(counts), 1), 3)
    sizes = [len(values) for values in counts.values()] or [1]
    longest = [max(sizes[i : i + columns]) for i in range(0, len(sizes), columns)]
    heights = [0.9 + 0.22 * size for size in longest]
    figure = Figure(figsize=(3.4 * columns, sum(heights)))
    cells = figure.subplots(
        len(heights), columns, squeeze=False, height_ratios=heights
    ).ravel()
    for cell in cells[len(counts) :]:
        cell.set_axis_off()
    for panel, (key, values) in enumerate(counts.items()):
        cell = cells[panel]
        bars = cell.barh(range(len(values)), list(values.values()), 0.72, color=BLUE)
        cell.bar_label(bars, padding=3, fontsize=8, color=MUTED)
        cell.set_yticks(range(len(values)), [fit_text(value, 28) for value in values])
        cell.set_ylim(longest[panel // columns] - 0.4, -0.6)
        cell.margins(x=0.18)
        cell.set_title(fit_text(key, 28))
        cell.grid(axis="y", visible=False)
        cell.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if not counts:
        say(cells[0], "no metadata")
    return figure
