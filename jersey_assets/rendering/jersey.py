"""Draws a jersey's flat cloth: colours, number, outline, lettering, side panels.

`crops.py` puts it on a body and looks at it through a camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jersey_assets.rendering.block import BlockType, block_digit, choose_type
from jersey_assets.rendering.fonts import FONTS, GLYPH_HEIGHT, load_font

COLORS = {
    "white": (236, 236, 238),
    "black": (26, 26, 30),
    "red": (196, 32, 44),
    "maroon": (112, 22, 42),
    "orange": (232, 112, 32),
    "yellow": (246, 196, 42),
    "green": (20, 104, 60),
    "teal": (20, 138, 142),
    "sky": (108, 172, 226),
    "blue": (30, 72, 176),
    "navy": (22, 32, 78),
    "purple": (84, 44, 134),
}
"""Colour name -> RGB, 0..255."""

BLOCK = "block"
"""The type of `block.py`, which most teams wear."""

# Teams: (jersey, number, border, font). As in a league, each has a font of its own,
# and its numbers contrast with its jersey.
KITS = (
    ("white", "navy", "sky", "sans"),
    ("white", "red", "black", "serif"),
    ("white", "purple", "yellow", "roman"),
    ("red", "white", "black", "sans"),
    ("maroon", "yellow", "black", "roman"),
    ("blue", "white", "orange", "sans-oblique"),
    ("navy", "white", "red", "grotesque"),
    ("purple", "yellow", "black", "sans"),
    ("green", "white", "black", "serif"),
    ("yellow", "navy", "white", "grotesque"),
    ("black", "white", "red", "sans-oblique"),
    ("orange", "black", "white", "sans"),
    ("sky", "navy", "white", "roman"),
    ("teal", "white", "navy", "grotesque"),
    ("white", "black", "red", BLOCK),
    ("white", "blue", "orange", BLOCK),
    ("white", "green", "yellow", BLOCK),
    ("white", "maroon", "navy", BLOCK),
    ("red", "white", "navy", BLOCK),
    ("red", "black", "white", BLOCK),
    ("maroon", "white", "yellow", BLOCK),
    ("blue", "white", "red", BLOCK),
    ("blue", "yellow", "white", BLOCK),
    ("navy", "yellow", "white", BLOCK),
    ("purple", "white", "black", BLOCK),
    ("green", "yellow", "white", BLOCK),
    ("yellow", "purple", "white", BLOCK),
    ("yellow", "red", "black", BLOCK),
    ("black", "white", "teal", BLOCK),
    ("orange", "white", "navy", BLOCK),
    ("sky", "white", "navy", BLOCK),
    ("teal", "black", "purple", BLOCK),
)

CLOTH_SIZE = 480
"""Side of the square cloth, px; the number is in its middle."""
NUMBER_HEIGHT = 128
"""Height of a number on the cloth, px: the unit that bodies are measured in."""


@dataclass(frozen=True)
class Kit:
    """A team's jersey: names from `COLORS`, and one of `FONTS` or `BLOCK`."""

    jersey: str
    number: str
    border: str
    font: str


@dataclass(frozen=True)
class Cloth:
    """A printed jersey.

    Attributes:
        pixels: float [CLOTH_SIZE, CLOTH_SIZE, 3], 0..1.
        number_width: width of the number with its outline, in number heights; 0 if
            there is no number.
    """

    pixels: np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]
    number_width: float


def choose_kit(rng: np.random.Generator) -> Kit:
    """Picks a team."""
    return Kit(*KITS[rng.integers(len(KITS))])


def print_jersey(label: str, kit: Kit, rng: np.random.Generator) -> Cloth:
    """Prints a number, or none for `""`, on a jersey of that kit."""
    cloth = Image.new("RGB", (CLOTH_SIZE, CLOTH_SIZE), _dye(kit.jersey, rng))
    number, border = _dye(kit.number, rng), _dye(kit.border, rng)
    if rng.random() < 0.35:
        _add_side_panels(cloth, border, rng)
    if rng.random() < 0.25:
        _add_collar(cloth, border, rng)
    if rng.random() < 0.35:
        _add_lettering(cloth, kit.font, number, rng)
    width = _add_number(cloth, label, kit.font, number, border, rng) if label else 0
    pixels = np.asarray(cloth, np.float32) / 255
    return Cloth(pixels, width / NUMBER_HEIGHT)


def _dye(name: str, rng: np.random.Generator) -> tuple[int, int, int]:
    """Varies a colour like a maker's dye: near the named one, never the same."""
    red, green, blue = np.clip(
        np.array(COLORS[name]) + rng.normal(0, 9, 3), 0, 255
    ).astype(int)
    return int(red), int(green), int(blue)


def _add_number(
    cloth: Image.Image,
    label: str,
    font: str,
    color: tuple[int, int, int],
    border_color: tuple[int, int, int],
    rng: np.random.Generator,
) -> int:
    """Pastes number and outline in the middle; returns their width, px."""
    # Thicker ones close the opening of a 3, so that it reads as an 8.
    outline = int(rng.integers(3, 8))
    if font == BLOCK:
        gap = int(rng.integers(3, 15))
        inner = _draw_blocks(label, choose_type(rng), gap)
        outer = inner.filter(ImageFilter.MaxFilter(2 * outline + 1))
    else:
        weight = FONTS[font][1] + int(rng.integers(0, 2))
        gap = int(rng.integers(2, 9)) + 2 * weight
        inner = _draw_digits(label, font, weight, gap)
        outer = _draw_digits(label, font, weight + outline, gap)
    box = outer.getbbox() or (0, 0, 1, 1)
    condensed = rng.uniform(0.75, 0.9)
    size = (int((box[2] - box[0]) * condensed), NUMBER_HEIGHT)
    corner = (CLOTH_SIZE - size[0]) // 2, (CLOTH_SIZE - size[1]) // 2
    has_outline = rng.random() < 0.8
    for mask, paint in ((outer, border_color), (inner, color)):
        if has_outline or mask is inner:
            cloth.paste(paint, corner, mask.crop(box).resize(size))
    return size[0]


def _draw_digits(label: str, font_name: str, weight: int, gap: int) -> Image.Image:
    """Draws the digits side by side as a mask, with `gap` px between them."""
    font = load_font(font_name)
    mask = Image.new("L", (GLYPH_HEIGHT * 3, GLYPH_HEIGHT * 2))
    draw = ImageDraw.Draw(mask)
    left = GLYPH_HEIGHT // 2
    for digit in label:
        box = draw.textbbox((0, 0), digit, font)
        draw.text(
            (left - box[0], GLYPH_HEIGHT // 3),
            digit,
            255,
            font,
            stroke_width=weight,
        )
        left += int(box[2] - box[0]) + gap
    return mask


def _draw_blocks(label: str, kind: BlockType, gap: int) -> Image.Image:
    """Draws block digits side by side as a mask, with `gap` px between them."""
    digits = [block_digit(digit, kind, GLYPH_HEIGHT) for digit in label]
    width = sum(digit.width + gap for digit in digits)
    mask = Image.new("L", (width + GLYPH_HEIGHT, GLYPH_HEIGHT * 2))
    left = GLYPH_HEIGHT // 2
    for digit in digits:
        mask.paste(digit, (left, GLYPH_HEIGHT // 2))
        left += digit.width + gap
    return mask


def _add_lettering(
    cloth: Image.Image,
    font: str,
    color: tuple[int, int, int],
    rng: np.random.Generator,
) -> None:
    """Writes a team's or player's name, without digits, above the number."""
    name = "".join(rng.choice(list("ABCDEHKLMNPRSTUVWXYZ"), rng.integers(4, 8)))
    size = int(rng.integers(30, 46))
    bottom = CLOTH_SIZE // 2 - NUMBER_HEIGHT // 2 - int(rng.integers(10, 26))
    ImageDraw.Draw(cloth).text(
        (CLOTH_SIZE // 2, bottom),
        name,
        color,
        load_font("serif" if font == BLOCK else font, size),
        anchor="ms",
        stroke_width=1,
    )


def _add_side_panels(
    cloth: Image.Image, color: tuple[int, int, int], rng: np.random.Generator
) -> None:
    inner = CLOTH_SIZE // 2 - int(rng.integers(95, 150))
    outer = inner - int(rng.integers(12, 60))
    draw = ImageDraw.Draw(cloth)
    draw.rectangle((outer, 0, inner, CLOTH_SIZE), color)
    draw.rectangle((CLOTH_SIZE - inner, 0, CLOTH_SIZE - outer, CLOTH_SIZE), color)


def _add_collar(
    cloth: Image.Image, color: tuple[int, int, int], rng: np.random.Generator
) -> None:
    middle, bottom = CLOTH_SIZE // 2, CLOTH_SIZE // 2 - int(rng.integers(78, 110))
    half = int(rng.integers(45, 80))
    box = (middle - half, bottom - 2 * half, middle + half, bottom)
    ImageDraw.Draw(cloth).ellipse(box, paint_skin(rng), outline=color, width=10)


def paint_skin(rng: np.random.Generator) -> tuple[int, int, int]:
    """Draws a skin tone, from dark to light."""
    tone = np.array((74, 46, 34)) + rng.random() * np.array((160, 140, 124))
    red, green, blue = (int(value) for value in tone)
    return red, green, blue
