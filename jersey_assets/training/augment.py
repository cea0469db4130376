"""Augmentation of training crops, a batch at a time on the model's device.

What changes between two crops of one number is the player's pose, the camera, the
light and the broadcast chain; each step below stands for one of these. Every crop
draws its own values. All randomness comes from the generator that is passed in, so
a step's crops are a function of its seed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from jersey_assets.training.recipe import Augmentation

_RESOLUTIONS = (0.35, 0.5, 0.7)
_BLUR_RADIUS = 2


def augment(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Moves, tints, blurs and hides crops.

    Args:
        images: uint8 [n, 3, S, S].
        amounts: how far each step may go.
        generator: source of randomness, on the images' device.

    Returns:
        float32 [n, 3, S, S] on the 0..255 scale.
    """
    # Pixels are moved in full precision, also within a mixed-precision step.
    with torch.autocast(images.device.type, enabled=False):
        crops = _warp(images.float(), amounts, generator)
        crops = _color(crops, amounts.color, generator)
        crops = _downscale(crops, amounts.downscale, generator)
        crops = _blur(crops, amounts.blur, generator)
        crops = _noise(crops, amounts.noise, generator)
        crops = _erase(crops, amounts.erasing, generator)
    return crops.clamp_(0, 255)


def _uniform(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    """Draws from -1..1."""
    return torch.rand(shape, device=like.device, generator=generator) * 2 - 1


def _chosen(count: int, chance: float, like: Tensor, generator: Generator) -> Tensor:
    """Draws which crops a step applies to, as indices."""
    draws = torch.rand(count, device=like.device, generator=generator)
    return (draws < chance).nonzero().flatten()


def _warp(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Rotates, scales, shears, shifts and tilts with one resampling."""
    count, _, height, width = images.shape
    draws = _uniform((count, 8), images, generator)
    angle = draws[:, 0] * (amounts.rotation * torch.pi / 180)
    scale = (1 - amounts.zoom) ** draws[:, 1]
    shear = draws[:, 2] * amounts.shear
    matrix = torch.zeros(count, 3, 3, device=images.device)
    matrix[:, 0, 0] = angle.cos() * scale
    matrix[:, 0, 1] = (shear - angle.sin()) * scale
    matrix[:, 1, 0] = angle.sin() * scale
    matrix[:, 1, 1] = angle.cos() * scale * (1 + 0.1 * draws[:, 7])
    # Grid coordinates run from -1 to 1, so a side is 2 long.
    matrix[:, :2, 2] = draws[:, 3:5] * (2 * amounts.shift)
    matrix[:, 2, :2] = draws[:, 5:7] * amounts.perspective
    matrix[:, 2, 2] = 1
    ys = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, device=images.device)
    xs = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, device=images.device)
    grid = torch.ones(height, width, 3, device=images.device)
    grid[..., 0], grid[..., 1] = xs[None, :], ys[:, None]
    points = (grid.view(1, -1, 3) @ matrix.mT).view(count, height, width, 3)
    return F.grid_sample(
        images,
        points[..., :2] / points[..., 2:].clamp_min(0.1),
        padding_mode="border",
        align_corners=False,
    )


def _color(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Changes brightness, contrast and saturation, and the tint of the light."""
    count = images.shape[0]
    draws = 1 + amount * _uniform((count, 3, 1, 1, 1), images, generator)
    brightness, contrast, saturation = draws.unbind(1)
    tint = 1 + amount / 4 * _uniform((count, 3, 1, 1), images, generator)
    gray = images.mean(1, keepdim=True)
    images = gray + (images - gray) * saturation
    center = images.mean((1, 2, 3), keepdim=True)
    return (center + (images - center) * contrast) * (brightness * tint)


def _downscale(images: Tensor, chance: float, generator: Generator) -> Tensor:
    """Throws resolution away, as a player far from the camera does."""
    side = images.shape[-1]
    chosen = _chosen(images.shape[0], chance, images, generator)
    for group, share in zip(
        chosen.tensor_split(len(_RESOLUTIONS)), _RESOLUTIONS, strict=True
    ):
        if len(group):
            small = F.interpolate(
                images[group],
                size=max(8, round(side * share)),
                mode="bilinear",
                antialias=True,
            )
            images[group] = F.interpolate(small, size=side, mode="bilinear")
    return images


def _blur(images: Tensor, chance: float, generator: Generator) -> Tensor:
    """Blurs with a Gaussian of its own along each axis: lens and motion."""
    chosen = _chosen(images.shape[0], chance, images, generator)
    count = len(chosen)
    if not count:
        return images
    spread = 0.3 + 1.2 * torch.rand(
        count, 2, 1, device=images.device, generator=generator
    )
    taps = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=images.device)
    kernel = torch.exp(-(taps**2) / (2 * spread**2))
    kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(3, 0)
    side = images.shape[-1]
    stack = images[chosen].reshape(1, count * 3, side, side)
    stack = F.pad(stack, (_BLUR_RADIUS,) * 4, mode="replicate")
    stack = F.conv2d(stack, kernel[:, 0, None, :, None], groups=count * 3)
    stack = F.conv2d(stack, kernel[:, 1, None, None, :], groups=count * 3)
    images[chosen] = stack.view(count, 3, side, side)
    return images


def _noise(images: Tensor, amount: float, generator: Generator) -> Tensor:
    """Adds sensor noise, from none to the amount."""
    if not amount:
        return images
    spread = 255 * amount * _uniform((images.shape[0], 1, 1, 1), images, generator)
    noise = torch.randn(images.shape, device=images.device, generator=generator)
    return images.addcmul_(noise, spread)


def _erase(images: Tensor, chance: float, generator: Generator) -> Tensor:
    """Hides a rectangle of up to half each side, as an arm or a ball does."""
    count, _, height, width = images.shape
    draws = torch.rand(count, 8, device=images.device, generator=generator)
    half = 0.05 + 0.2 * draws[:, 1:3]
    xs = (torch.arange(width, device=images.device) + 0.5) / width
    ys = (torch.arange(height, device=images.device) + 0.5) / height
    inside_x = (xs - draws[:, 3:4]).abs() < half[:, :1]
    inside_y = (ys - draws[:, 4:5]).abs() < half[:, 1:]
    hidden = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    hidden &= (draws[:, 0] < chance)[:, None, None, None]
    return torch.where(hidden, 255 * draws[:, 5:8, None, None], images)
