"""Draws the confusion matrix and the accuracy per label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jersey_assets.plots.style import (
    BLUE,
    INK,
    LINE,
    MAX_NAMED,
    MUTED,
    ORANGE,
    SHADES,
    Numbers,
    fill_bars,
    in_our_style,
    pitch_of,
    put_title,
    tick_size,
    ticks_of,
)

_WRONG = LinearSegmentedColormap.from_list("wrong", ["#ffffff", "#f6a59e", "#b42318"])
_MAX_CELLS = 250
_MAX_CELL_TEXTS = 1_000


@in_our_style
def confusion_matrix(
    labels: Sequence[str], matrix: np.ndarray[Any, np.dtype[Any]], of: str
) -> Figure:
    """Draws which label was read as which; the right ones blue, mistakes red.

    Args:
        labels: in class order.
        matrix: counts [C, C], rows are the true labels; colours are shares of a row.
        of: what was evaluated, for the title.
    """
    size = len(labels)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    right, wrong = _pool(shares, _MAX_CELLS)
    diagonal = np.eye(len(right), dtype=bool)[..., None]
    # One mistake among many must still be visible, so mistakes darken faster.
    pixels = np.where(diagonal, SHADES(right), _WRONG(np.sqrt(wrong)))
    # Inches: as wide as Dagster's dialog for it, as long as digits are readable.
    cell = pitch_of(size, 0.25, 0.13, 8.5)
    side = 2.0 + cell * max(size, 10)
    figure = Figure(figsize=(side, side))
    axes = figure.subplots()
    ends = (-0.5, size - 0.5)
    axes.imshow(pixels, interpolation="nearest", extent=(*ends, *ends[::-1]))
    if size <= MAX_NAMED:
        edges = np.arange(size + 1) - 0.5
        axes.vlines(edges, *ends, color=LINE, linewidth=0.8)
        axes.hlines(edges, *ends, color=LINE, linewidth=0.8)
        _write_counts(axes, matrix, shares, 28 * cell)
    places, names = ticks_of(labels)
    font_size = tick_size(size, cell)
    axes.set_xticks(places, names, rotation=90, fontsize=font_size)
    axes.set_yticks(places, names, fontsize=font_size)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    rows, mistakes = int(matrix.sum()), int(matrix.sum() - matrix.trace())
    axes.set(xlabel="read as", ylabel="true label")
    put_title(figure, f"Confusion matrix, {of}: {mistakes} of {rows} wrong")
    return figure


def _pool(
    shares: np.ndarray[Any, np.dtype[Any]], cells: int
) -> tuple[np.ndarray[Any, np.dtype[Any]], np.ndarray[Any, np.dtype[Any]]]:
    """Merges neighbouring labels until a side has at most this many cells.

    Otherwise a single label's cell would be thinner than a pixel.

    Returns:
        The mean share of right answers of each row of cells, for its diagonal, and
        the largest share of any mistake in each cell.
    """
    starts = np.arange(0, len(shares), -(-len(shares) // cells) or 1)
    labels = np.diff(np.append(starts, len(shares)))
    right = np.add.reduceat(shares.diagonal(), starts) / labels
    wrong = np.where(np.eye(len(shares), dtype=bool), 0, shares)
    for axis in (0, 1):
        wrong = np.maximum.reduceat(wrong, starts, axis=axis)
    return np.diag(right), wrong


def _write_counts(
    axes: Axes,
    matrix: np.ndarray[Any, np.dtype[Any]],
    shares: np.ndarray[Any, np.dtype[Any]],
    font_size: float,
) -> None:
    """Writes each count into its cell, unless there are too many to read."""
    cells = np.argwhere(matrix > 0)
    if len(cells) > _MAX_CELL_TEXTS:
        return
    for row, column in cells:
        share = shares[row, column]
        dark = share > 0.55 if row == column else share > 0.35
        axes.text(
            column,
            row,
            f"{int(matrix[row, column])}",
            ha="center",
            va="center",
            fontsize=font_size,
            color="white" if dark else INK,
        )


@in_our_style
def per_class_accuracy(
    labels: Sequence[str], accuracies: Numbers, counts: Numbers
) -> Figure:
    """Draws each label's accuracy, the worst first; labels without rows come last.

    Args:
        labels: in class order.
        accuracies: shares in 0..1; ignored if the count is 0.
        counts: rows of each label.
    """
    rows = np.asarray(counts)
    shares = np.where(rows > 0, np.asarray(accuracies, float), np.nan)
    mean = float(np.nansum(shares * rows) / max(rows.sum(), 1))
    order = np.argsort(shares, kind="stable")  # NaN sorts last
    size = len(labels)
    pitch = pitch_of(size, 0.22, 0.15, 15)
    figure = Figure(figsize=(8, 1.2 + pitch * size))
    axes = figure.subplots()
    drawn = np.nan_to_num(shares[order])
    low = drawn < mean
    for which, color in ((low, ORANGE), (~low, BLUE)):
        bars = np.where(which, drawn, 0)
        fill_bars(axes, bars, color, orientation="horizontal")
    if size <= MAX_NAMED:
        for place, i in enumerate(order):
            text = f"{shares[i]:.0%} of {rows[i]:g}" if rows[i] else "no rows"
            axes.text(
                np.nan_to_num(shares[i]) + 0.008,
                place,
                text,
                va="center",
                fontsize=min(8.0, 45 * pitch),
                color=MUTED,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
    axes.axvline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ticks, names = ticks_of([labels[i] for i in order])
    axes.set_yticks(ticks, names, fontsize=tick_size(size, pitch))
    axes.set(xlim=(0, 1.12), ylim=(size - 0.4, -0.6))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(axis="y", visible=False)
    axes.set_title(f"Accuracy per label; all rows {mean:.1%} (dashed), orange below it")
    return figure
