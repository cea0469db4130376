"""Simulates camera and broadcast: light, blur, low resolution, noise, compression."""

from __future__ import annotations

import io
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageFilter

Pixels: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]

_LEAST_SPAN = 0.18
"""Least range from dark to light in a picture; with less, nothing can be seen."""

SUPERSAMPLING = 3
"""Pixels of a scene per pixel of its crop, along each side."""


def photograph(scene: Pixels, rng: np.random.Generator) -> Image.Image:
    """Turns a scene into the crop that a broadcast would give of it.

    Args:
        scene: float [H, W, 3], 0..1, sides that `SUPERSAMPLING` divides.
        rng: the source of all randomness.

    Returns:
        An RGB image of size (W / SUPERSAMPLING, H / SUPERSAMPLING).
    """
    light = _lift(_move_blur(_expose(scene, rng), rng))
    image = Image.fromarray((light.clip(0, 1) * 255).astype(np.uint8))
    image = image.filter(
        ImageFilter.GaussianBlur(SUPERSAMPLING * rng.uniform(0.25, 0.7))
    )
    image = image.reduce(SUPERSAMPLING)
    if rng.random() < 0.5:
        image = image.filter(
            ImageFilter.UnsharpMask(1.2, int(rng.integers(40, 140)), threshold=0)
        )
    noise = rng.normal(0, rng.uniform(0.5, 6), (image.height, image.width, 3))
    noisy = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
    return _compress(Image.fromarray(noisy), int(rng.integers(55, 92)))


def _expose(scene: Pixels, rng: np.random.Generator) -> Pixels:
    """Applies white balance, exposure, contrast and the haze of a hall's lights."""
    cast = rng.normal(1, 0.06, 3)
    exposure, contrast = rng.uniform(0.75, 1.2), rng.uniform(0.75, 1.15)
    haze = rng.uniform(0, 0.08) * np.array((1.0, 0.9, 1.1))
    lit: Pixels = ((scene * cast * exposure - 0.5) * contrast + 0.5) + haze
    return lit


def _lift(light: Pixels) -> Pixels:
    """Adjusts a picture that is all dark or all light as a camera's gain would.

    Otherwise folds of black cloth would fall below black, and the crop would be flat.
    """
    low, high = _extremes(light.clip(0, 1))
    if high - low >= _LEAST_SPAN:
        return light
    low, high = _extremes(light)
    gain = max(_LEAST_SPAN / max(high - low, 1e-6), 1.0)
    # Around each colour's own mean, limited so that neither end is clipped.
    mean = light.mean((0, 1))
    lifted: Pixels = (light - mean) * gain + mean.clip(0.12, 0.88)
    return lifted


def _extremes(light: Pixels) -> tuple[float, float]:
    """The darkest and the lightest grey that remain after a blur."""
    grey = Image.fromarray(light.mean(-1).astype(np.float32))
    block = 3 * SUPERSAMPLING
    whole = (0, 0, grey.width // block * block, grey.height // block * block)
    coarse = np.asarray(grey.crop(whole).reduce(block))
    return float(coarse.min()), float(coarse.max())


def _move_blur(scene: Pixels, rng: np.random.Generator) -> Pixels:
    """Smears one crop in four along a line, like a moving player."""
    if rng.random() > 0.25:
        return scene
    reach = SUPERSAMPLING * rng.uniform(0.6, 1.6)
    angle = rng.uniform(0, np.pi)
    margin = int(reach) + 1
    height, width, _ = scene.shape
    padded = np.pad(scene, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    total = np.zeros_like(scene)
    steps = np.linspace(-reach, reach, 2 * margin + 1)
    for step in steps:
        top = margin + round(step * np.sin(angle))
        left = margin + round(step * np.cos(angle))
        total += padded[top : top + height, left : left + width]
    return total / len(steps)


def _compress(image: Image.Image, quality: int) -> Image.Image:
    """Degrades an image as video compression does."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")
