"""Reads a figure back from the artists that carry it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

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


def many_labels(size: int) -> list[str]:
    """Labels as a dataset of so many has them: 0-99 and "", or three digits."""
    if size <= 101:
        return sorted(["", *map(str, range(size - 1))])
    return [f"{number:03}" for number in range(size)]
