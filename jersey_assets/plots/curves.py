"""Draws a training's curves over its epochs: loss, top-1, learning rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jersey_assets.plots.style import MUTED, ORANGE, SPLIT_COLORS, in_our_style


@in_our_style
def training_curves(history: pd.DataFrame) -> Figure:
    """Draws loss, top-1 and learning rate over the epochs, and marks the best epoch.

    Args:
        history: a row per epoch: `epoch`, `train_loss`, `valid_loss`, `train_top1`,
            `valid_top1` (shares in 0..1), `learning_rate`.
    """
    figure = Figure(figsize=(9, 4.6))
    axes = figure.subplot_mosaic(
        [["loss", "top1"], ["rate", "rate"]], height_ratios=[4, 1]
    )
    epochs = history["epoch"]
    marker = "o" if len(history) < 3 else ""
    for part in ("train", "valid"):
        color = SPLIT_COLORS[part]
        for name in ("loss", "top1"):
            axes[name].plot(
                epochs,
                history[f"{part}_{name}"],
                color=color,
                label=part,
                marker=marker,
            )
    axes["loss"].set_title("Loss")
    axes["loss"].legend()
    axes["top1"].set(title=f"Top-1{_mark_best(axes['top1'], history)}", ylim=(0, 1.03))
    axes["top1"].yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes["top1"].legend(loc="lower right")
    axes["rate"].plot(epochs, history["learning_rate"], color=MUTED, marker=marker)
    axes["rate"].set(title="Learning rate", xlabel="epoch", ylim=(0, None))
    for part_axes in axes.values():
        part_axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        part_axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _mark_best(axes: Axes, history: pd.DataFrame) -> str:
    """Marks the best valid top-1 with a dot and returns it as text for the title."""
    scores = history["valid_top1"]
    if not scores.notna().any():
        return ""
    best = history.iloc[int(np.nanargmax(scores))]
    axes.plot(best["epoch"], best["valid_top1"], "o", color=ORANGE, markersize=8)
    return f"; best on valid {best['valid_top1']:.1%}, epoch {int(best['epoch'])}"
