"""Draws block digits: straight strokes with cut corners, the most common jersey type.

No redistributable font has them, so they are drawn. A digit is made of the seven
strokes of a display, except 1, 4 and 7; corners where strokes meet are cut, and a free
end has a hook, as in the lettering of American schools.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

# Strokes of a display: top, upper right, lower right, bottom, lower left, upper left,
# middle. Lower case: only a hook of it.
_STROKES = {
    "0": "ABCDEF",
    "2": "ABGEDf",
    "3": "ABGCDfe",
    "5": "AFGCDe",
    "6": "AFGECDb",
    "8": "ABCDEFG",
    "9": "ABCDFGe",
}


@dataclass(frozen=True)
class BlockType:
    """A maker's type; all lengths are shares of a digit's height.

    Attributes:
        width: of a digit.
        stroke: thickness of a stroke.
        cut: what a corner loses along each side.
        hook: length of a hook beyond the stroke that it ends; 0 for none.
        foot: width of the bar below a 1; 0 for none.
    """

    width: float
    stroke: float
    cut: float
    hook: float
    foot: float


def choose_type(rng: np.random.Generator) -> BlockType:
    """Draws the proportions of a type."""
    return BlockType(
        width=rng.uniform(0.52, 0.78),
        stroke=rng.uniform(0.16, 0.24),
        cut=rng.uniform(0.04, 0.14),
        hook=rng.choice((0.0, rng.uniform(0.06, 0.12))),
        foot=rng.choice((0.0, rng.uniform(0.4, 0.6))),
    )


def block_digit(digit: str, kind: BlockType, height: int) -> Image.Image:
    """Draws a digit.

    Args:
        digit: one of 0 to 9.
        kind: its type.
        height: px.

    Returns:
        A mask: `L`, 255 inside the digit, as wide as the digit is.
    """
    if digit == "1":
        return _one(kind, height)
    mask = Image.new("L", (round(kind.width * height), height))
    draw = ImageDraw.Draw(mask)
    if digit == "4":
        _four(draw, kind, height)
    elif digit == "7":
        _seven(draw, kind, height)
    else:
        _display(draw, _STROKES[digit], kind, height)
    return mask


def _display(draw: ImageDraw.ImageDraw, on: str, kind: BlockType, height: int) -> None:
    w, s, c = kind.width * height, kind.stroke * height, kind.cut * height
    upper, lower = (height - s) / 2, (height + s) / 2
    hook = s + kind.hook * height
    sides = {"F": (0, 0), "B": (w - s, 0), "E": (0, upper), "C": (w - s, upper)}
    for name, (x, y) in sides.items():
        if name in on:
            draw.rectangle((x, y, x + s, y + lower), 255)
        elif kind.hook and name.lower() in on:
            top = 0 if y == 0 else height - hook
            draw.rectangle((x, top, x + s, top + hook), 255)
    for name, y in (("A", 0.0), ("G", upper), ("D", height - s)):
        if name in on:
            draw.rectangle((0, y, w, y + s), 255)
    for x, inward, above, below in ((0, 1, "F", "E"), (w, -1, "B", "C")):
        hooked = on if not kind.hook else on.upper()
        if above in hooked:
            _cut(draw, (x, 0), inward, 1, c)
        if below in hooked:
            _cut(draw, (x, height), inward, -1, c)
        if "G" not in on:
            continue
        if above in on and below in on:
            # The waist of 3 and 8.
            depth = c / 2
            tip = (x + inward * depth, height / 2)
            draw.polygon(((x, height / 2 - c), tip, (x, height / 2 + c)), 0)
        elif above in on:
            _cut(draw, (x, lower), inward, -1, c)
        elif below in on:
            _cut(draw, (x, upper), inward, 1, c)


def _cut(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    inward: int,
    down: int,
    length: float,
) -> None:
    x, y = corner
    draw.polygon(((x, y), (x + inward * length, y), (x, y + down * length)), 0)


def _one(kind: BlockType, height: int) -> Image.Image:
    s, flag = kind.stroke * height * 1.1, 0.6 * kind.stroke * height
    foot = max(kind.foot * height, s + flag) if kind.foot else s + flag
    mask = Image.new("L", (round(foot), height))
    draw = ImageDraw.Draw(mask)
    left = (foot - s) / 2 if kind.foot else flag
    draw.rectangle((left, 0, left + s, height), 255)
    slope = (left, 0), (left - flag, flag), (left - flag, 1.6 * s), (left, 1.2 * s)
    draw.polygon(slope, 255)
    if kind.foot:
        draw.rectangle((0, height - 0.8 * s, foot, height), 255)
    return mask


def _four(draw: ImageDraw.ImageDraw, kind: BlockType, height: int) -> None:
    w, s = kind.width * height, kind.stroke * height
    stem, bar = w - 1.3 * s, 0.62 * height
    draw.polygon(((stem, 0), (stem + s, 0), (stem + s, bar), (0, bar)), 255)
    draw.rectangle((stem, 0, stem + s, height), 255)
    draw.rectangle((0, bar - s / 2, w, bar + s / 2), 255)
    # What the slanted stroke leaves open.
    slant, inner = min(1.1 * s, stem / 2), bar - s / 2
    left, top = slant + stem * s / (2 * bar), bar * slant / stem
    draw.polygon(((left, inner), (stem, inner), (stem, top)), 0)


def _seven(draw: ImageDraw.ImageDraw, kind: BlockType, height: int) -> None:
    w, s = kind.width * height, kind.stroke * height
    draw.rectangle((0, 0, w, s), 255)
    foot = 0.25 * w
    draw.polygon(
        ((w - 1.15 * s, s), (w, s), (foot + 1.15 * s, height), (foot, height)), 255
    )
    if kind.hook:
        draw.rectangle((0, 0, 0.8 * s, s + kind.hook * height), 255)
