"""Finds the fonts that numbers are drawn in, inside the matplotlib package.

The same installed versions draw the same crops on any machine: system fonts are not
used.
matplotlib is located, not imported.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

from jersey_assets.rendering.errors import RenderError

GLYPH_HEIGHT = 120
"""Font size that numbers are drawn at, px; far above that of any crop."""

# name -> file, and the px by which each stroke is thickened to the weight of a
# jersey's number. Fonts that mark their zero (DejaVu Sans Mono) would teach that a
# plain 0 is rare, so they are not included.
FONTS = {
    "sans": ("DejaVuSans-Bold.ttf", 0),
    "sans-oblique": ("DejaVuSans-BoldOblique.ttf", 0),
    "serif": ("DejaVuSerif-Bold.ttf", 0),
    "roman": ("STIXGeneralBol.ttf", 3),
    "grotesque": ("cmss10.ttf", 6),
}


@cache
def load_font(name: str, size: int = GLYPH_HEIGHT) -> ImageFont.FreeTypeFont:
    """Loads one of `FONTS`.

    Args:
        name: key of `FONTS`.
        size: px per em.

    Raises:
        RenderError: matplotlib, or that file of it, is not installed.
    """
    path = _font_folder() / FONTS[name][0]
    try:
        # BASIC layout: the same glyph positions with and without libraqm.
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise RenderError(
            f"{path}: the font cannot be read ({error}); reinstall matplotlib"
        ) from error


@cache
def _font_folder() -> Path:
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise RenderError(
            "matplotlib, whose fonts the numbers are drawn in, is not installed; "
            "install it: pip install matplotlib"
        )
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
