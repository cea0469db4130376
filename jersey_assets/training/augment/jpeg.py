"""JPEG compression of batches of tensors, for augmentation.

The lossy half of baseline JPEG (ITU-T T.81): YCbCr, chroma at half resolution, the
cosine transform of 8 x 8 blocks, and its quantization. The entropy coding after that
is lossless and is left out.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# T.81, annex K, tables K.1 and K.2, row by row.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
# JFIF's conversion: ITU-R BT.601 with the full range of values.
_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def compress(images: Tensor, qualities: Tensor) -> Tensor:
    """Returns crops as a JPEG of that quality would show them.

    Args:
        images: float32 [n, 3, h, w] on the 0..255 scale, RGB.
        qualities: float [n], 1..100 on the scale of the Independent JPEG Group's
            library, which Pillow uses too.

    Returns:
        float32 [n, 3, h, w], 0..255.
    """
    height, width = images.shape[-2:]
    # Whole blocks also at half resolution.
    margin = (0, -width % 16, 0, -height % 16)
    padded = F.pad(images, margin, mode="replicate") if any(margin) else images
    planes = _mix(padded, _TO_YCBCR)
    tables = _tables(qualities)
    # The shift by 128 of T.81, A.3.1; chroma is around 0 already.
    luma = _quantize(planes[:, :1] - 128, tables[:, 0]) + 128
    chroma = _quantize(F.avg_pool2d(planes[:, 1:], 2), tables[:, 1])
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")
    made = _mix(torch.cat([luma, chroma], 1), _TO_RGB)
    return made[..., :height, :width].clamp(0, 255)


def _mix(images: Tensor, weights: tuple[tuple[float, ...], ...]) -> Tensor:
    """Replaces the three channels by weighted sums of them."""
    return (_constant(weights, images.device) @ images.flatten(2)).view_as(images)


def _tables(qualities: Tensor) -> Tensor:
    """Quantization tables [n, 2, 64] for luma and chroma, scaled as the IJG does."""
    scale = torch.where(qualities < 50, 5000 / qualities, 200 - 2 * qualities)
    base = _constant((_LUMA, _CHROMA), qualities.device).view(1, 2, 64)
    return ((base * scale.view(-1, 1, 1) + 50) / 100).floor().clamp(1, 255)


def _quantize(planes: Tensor, tables: Tensor) -> Tensor:
    """Rounds the blocks' cosine coefficients to multiples of the tables' [n, 64]."""
    count, channels, height, width = planes.shape
    transform = _cosines(planes.device)
    grid = count, channels, height // 8, 8, width // 8, 8
    blocks = planes.view(grid).transpose(3, 4).reshape(count, -1, 64)
    steps = tables[:, None]
    blocks = ((blocks @ transform.T) / steps).round_().mul_(steps) @ transform
    cells = count, channels, height // 8, width // 8, 8, 8
    return blocks.view(cells).transpose(3, 4).reshape(planes.shape)


@cache
def _constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """A table on a device, copied there once."""
    return torch.tensor(values, dtype=torch.float32, device=device)


@cache
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal two-dimensional cosine transform of a block, as [64, 64]."""
    places = torch.arange(8, dtype=torch.float64)
    waves = ((2 * places + 1) * places[:, None] * (math.pi / 16)).cos() / 2
    waves[0] /= math.sqrt(2)
    return torch.kron(waves, waves).float().to(device)
