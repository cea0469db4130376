"""Figures as PNG: whole for a file, small for metadata that the UI keeps for ever."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

FILE_DPI = 120
# (dots per inch, palette size), best first. Fewer dots than the last, and tick labels
# are no longer legible.
_SMALLER = (
    (120, 256),
    (120, 64),
    (100, 128),
    (80, 128),
    (65, 128),
    (65, 64),
    (50, 64),
    (50, 24),
)


class PlotError(ValueError):
    """A figure cannot be drawn as asked; the message says what to do."""


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure; the same figure gives the same bytes."""
    # Without the version that matplotlib writes into each file.
    figure.savefig(
        path,
        format="png",
        dpi=FILE_DPI,
        facecolor="white",
        metadata={"Software": None},
    )


def shrink_png(png: bytes, max_bytes: int = 60_000) -> bytes:
    """Makes a smaller PNG of one that `save_png` wrote.

    Raises:
        PlotError: even the smallest legible form has more bytes.
    """
    if len(png) <= max_bytes:
        return png
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    for dpi, colors in _SMALLER:
        size = [max(1, round(side * dpi / FILE_DPI)) for side in whole.size]
        image = whole.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        image = image.quantize(colors, dither=Image.Dither.NONE)
        stream = io.BytesIO()
        image.save(stream, "PNG")
        if stream.tell() <= max_bytes:
            return stream.getvalue()
    raise PlotError(
        f"the picture takes {stream.tell()} bytes at its smallest, more than "
        f"{max_bytes}; show fewer images or classes in it, or allow more bytes"
    )
