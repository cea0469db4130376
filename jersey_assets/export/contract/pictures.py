"""Draws the 8-bit pictures that a model is probed with.

Drawn crops, noise, soft and faint shapes, flat and striped pictures: inputs that
activate different parts of a network.
"""

from __future__ import annotations

from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jersey_assets.rendering.crops import render_crop

Picture = NDArray[np.uint8]


def draw_pictures(
    draw: np.random.Generator, count: int, height: int, width: int
) -> Picture:
    """Draws pictures of many kinds in turn, uint8 [count, height, width, 3]."""
    pictures = np.empty((count, height, width, 3), np.uint8)
    kinds = cycle((_crop, _noise, _soft, _faint, _crop, _noise, _soft))
    patterns = cycle((_black, _white, _flat, _across, _down, _stripes, _checks, _dots))
    for row in range(count):
        kind = next(patterns) if row % 8 == 7 else next(kinds)
        pictures[row] = kind(draw, height, width)
    return pictures


def _crop(draw: np.random.Generator, height: int, width: int) -> Picture:
    label = str(draw.integers(100)) if draw.random() < 0.9 else ""
    image, _ = render_crop(label, draw)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _noise(draw: np.random.Generator, height: int, width: int) -> Picture:
    return draw.integers(0, 256, (height, width, 3), np.uint8)


def _soft(draw: np.random.Generator, height: int, width: int) -> Picture:
    image = Image.fromarray(_noise(draw, 4, 4))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _faint(draw: np.random.Generator, height: int, width: int) -> Picture:
    """Like a crop in bad light: little contrast around one tone."""
    shape = _soft(draw, height, width).astype(np.int64) - 128
    faint: Picture = (draw.integers(20, 236) + shape // 6).clip(0, 255).astype(np.uint8)
    return faint


def _black(draw: np.random.Generator, height: int, width: int) -> Picture:
    return np.zeros((height, width, 3), np.uint8)


def _white(draw: np.random.Generator, height: int, width: int) -> Picture:
    return np.full((height, width, 3), 255, np.uint8)


def _flat(draw: np.random.Generator, height: int, width: int) -> Picture:
    return np.broadcast_to(_noise(draw, 1, 1), (height, width, 3))


def _across(draw: np.random.Generator, height: int, width: int) -> Picture:
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return np.broadcast_to(ramp[None, :, None], (height, width, 3))


def _down(draw: np.random.Generator, height: int, width: int) -> Picture:
    ramp = np.linspace(0, 255, height).astype(np.uint8)
    return np.broadcast_to(ramp[:, None, None], (height, width, 3))


def _stripes(draw: np.random.Generator, height: int, width: int) -> Picture:
    lines = (np.arange(width) % 2 * 255).astype(np.uint8)
    return np.broadcast_to(lines[None, :, None], (height, width, 3))


def _checks(draw: np.random.Generator, height: int, width: int) -> Picture:
    fields = np.arange(width) // 4 + np.arange(height)[:, None] // 4
    return np.repeat((fields % 2 * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def _dots(draw: np.random.Generator, height: int, width: int) -> Picture:
    return (_noise(draw, height, width) > 127).astype(np.uint8) * np.uint8(255)
