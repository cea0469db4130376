"""The figures' common style: colours, fonts, labels, titles, ticks and bars.

The other modules here turn plain data into a matplotlib `Figure`. None reads a file,
keeps state or touches pyplot, so figures can be drawn in any thread and are freed when
dropped; `png.py` turns them into bytes. matplotlib takes half a second to import:
callers import these modules when they draw. Long labels are cut, and `""` is shown as
`∅ (none)`. A figure's size and the number of its texts are bounded, however many labels
there are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from jersey_assets.text import readable, shorten

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]] | Sequence[float] | pd.Series[Any]"

BLUE, ORANGE, GREEN, RED = "#2563eb", "#ea7317", "#15936b", "#d92d20"
INK, MUTED, LINE = "#1f2937", "#6b7280", "#e5e7eb"
SPLIT_COLORS = {"train": BLUE, "valid": ORANGE, "test": GREEN}
SHADES = LinearSegmentedColormap.from_list("right", ["#ffffff", "#93b4f8", "#1e40af"])
"""From none to all, in blues."""

MAX_NAMED = 120
"""Up to this many labels a figure names each; of more, some, evenly spaced."""

_SOME_NAMED = 25
_LABEL = 12
"""Characters of a label that a figure shows."""
_TITLE_CHARACTERS = 11
"""Characters of a title per inch."""

_STYLE = {
    # By name, since a family such as sans-serif is looked up only when drawn.
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    # Metadata values and captions are text, whatever dollars are in them.
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#9ca3af",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
}
in_our_style = style.context(["default", _STYLE])


def show_label(label: str) -> str:
    """Returns the label as it is shown to people."""
    return fit_text(label, _LABEL) or "∅ (none)"


def fit_text(text: str, characters: int) -> str:
    return readable(shorten(text, characters))


def ticks_of(labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Returns the positions and texts of ticks: all, or some of very many."""
    step = 1 if len(labels) <= MAX_NAMED else -(-len(labels) // _SOME_NAMED)
    places = list(range(0, len(labels), step))
    return places, [show_label(labels[place]) for place in places]


def pitch_of(size: int, largest: float, smallest: float, side: float) -> float:
    """Inches from one label to the next, so that `size` of them fit on a side.

    If each one is named, at least `smallest`.
    """
    fitting = min(largest, side / max(size, 1))
    return fitting if size > MAX_NAMED else max(fitting, smallest)


def tick_size(size: int, pitch: float) -> float:
    """Font size of a tick label, in points, for this many inches to the next."""
    return min(9.0, 55 * pitch) if size <= MAX_NAMED else 9.0


def fill_bars(
    axes: Axes,
    lengths: np.ndarray[Any, np.dtype[Any]],
    color: str,
    base: np.ndarray[Any, np.dtype[Any]] | float = 0.0,
    **options: Any,
) -> None:
    """Draws bars at 0, 1, 2, … as one artist: a thousand patches take seconds."""
    width = 0.74 if len(lengths) <= MAX_NAMED else 1.0
    places = np.arange(len(lengths))
    edges = np.column_stack((places - width / 2, places + width / 2)).ravel()
    values, bottoms = np.zeros((2, max(2 * len(lengths) - 1, 0)))
    values[::2], bottoms[::2] = lengths + base, base
    if len(lengths):
        axes.stairs(
            values, edges, baseline=bottoms, fill=True, color=color, lw=0, **options
        )


def put_title(figure: Figure, text: str) -> None:
    """Puts a title over the whole figure, on as many lines as its width requires."""
    fitting = textwrap.fill(text, int(figure.get_figwidth() * _TITLE_CHARACTERS))
    figure.suptitle(fitting, x=0.01, ha="left", weight="bold", fontsize=10)


def say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
