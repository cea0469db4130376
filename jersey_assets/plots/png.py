"""Saves figures as PNG files, and shrinks them for the pages of Dagster's UI."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

FILE_DPI = 120
MAX_SIDE = 4_000
"""Longest side of a picture in a file, in pixels."""

MAX_FILE_BYTES = 2_000_000
"""Largest size of a picture in a file, in bytes."""

# (dots per inch, palette size), best first; the last ones are thumbnails.
_SMALLER = (
    (120, 256),
    (120, 64),
    (100, 128),
    (80, 128),
    (65, 128),
    (65, 64),
    (50, 64),
    (50, 24),
    (40, 16),
    (30, 16),
    (20, 16),
)

_logger = logging.getLogger(__name__)


class PlotError(ValueError):
    """A picture cannot be made small enough; the message says what to do."""


def draw_png(path: Path, draw: Callable[..., Figure], *data: Any, **named: Any) -> None:
    """Draws a figure into a file; a failure to draw it is only logged.

    A failed picture must not fail the run. A file that cannot be written does.

    Args:
        path: the PNG to write.
        draw: makes the figure, with the arguments that follow.
        data: what it shows.
        named: the same, by name.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        png = _render(draw(*data, **named))
    except Exception:  # matplotlib raises whatever its parts do
        _logger.warning("%s could not be drawn", path.name, exc_info=True)
        return
    path.write_bytes(png)


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure; the same figure gives the same bytes."""
    path.write_bytes(_render(figure))


def _render(figure: Figure) -> bytes:
    """A figure's PNG, of at most `MAX_SIDE` pixels a side and `MAX_FILE_BYTES`."""
    stream = io.BytesIO()
    longest = max(figure.get_figwidth(), figure.get_figheight())
    # Without the version that matplotlib writes into each file.
    figure.savefig(
        stream,
        format="png",
        dpi=min(FILE_DPI, MAX_SIDE / longest),
        facecolor="white",
        metadata={"Software": None},
    )
    return shrink_png(stream.getvalue(), MAX_FILE_BYTES)


def shrink_png(png: bytes, max_bytes: int = 60_000) -> bytes:
    """Makes a smaller PNG of one that `save_png` wrote.

    Raises:
        PlotError: even a thumbnail is larger.
    """
    if len(png) <= max_bytes:
        return png
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    # Each form usually takes fewer bytes than the one before: bisection finds the best
    # that fits without making all the large ones first.
    fits, step, last = None, 0, len(_SMALLER)
    while step < last:
        middle = (step + last) // 2
        made = _quantize(whole, *_SMALLER[middle])
        if len(made) <= max_bytes:
            fits, last = made, middle
        else:
            step = middle + 1
    if fits is None:
        raise PlotError(
            f"the picture takes {len(made):,} bytes at its smallest, more than "
            f"{max_bytes:,}; show fewer images or classes in it, or allow more bytes"
        )
    return fits


def _quantize(whole: Image.Image, dpi: int, colors: int) -> bytes:
    size = [max(1, round(side * dpi / FILE_DPI)) for side in whole.size]
    image = whole.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.quantize(colors, dither=Image.Dither.NONE).save(stream, "PNG")
    return stream.getvalue()
