"""Prepares crops as network input: resizes to a square and normalizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_crop(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Stretch a crop to a square, bilinear.

    Args:
        image: mode RGB, as `decode_crop` returns it.
        size: side of the square, in pixels.

    Returns:
        uint8 array of shape [size, size, 3], values 0..255.
    """
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def normalize_crops(
    crops: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Turns crops, uint8 [n, S, S, 3], into network input, float32 [n, 3, S, S].

    The arithmetic equals training's, operation by operation, so the bits are equal.
    """
    shift = np.asarray(mean, np.float32) * np.float32(255)
    scale = np.asarray(std, np.float32) * np.float32(255)
    inputs = (crops.astype(np.float32) - shift) / scale
    return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
