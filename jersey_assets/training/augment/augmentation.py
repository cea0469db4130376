"""The augmentation steps (warp, colour, blur, noise, JPEG, erase, …), on the device.

Two crops of one number differ in the player's pose, the camera, the light and the
broadcast chain; each step below imitates one of these. Every crop draws its own values.
All randomness comes from the generator that is passed in, so the crops of a training
step are a function of its seed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from jersey_assets.training.augment.jpeg import compress
from jersey_assets.training.recipe import Augmentation

_RESOLUTIONS = 3
_BEST_JPEG = 95.0
_SAMPLES, _DRAWS = 6, 7


def augment(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Moves, tints, blurs, compresses and hides crops.

    Args:
        images: uint8 [n, 3, S, S].
        amounts: how often and how far each step may go.
        generator: source of randomness, on the images' device.

    Returns:
        float32 [n, 3, S, S] on the 0..255 scale.
    """
    # Pixels are moved in full precision, also within a mixed-precision step.
    with torch.autocast(images.device.type, enabled=False):
        crops = _warp(images.float(), amounts, generator)
        crops = _color(crops, amounts, generator)
        crops = _downscale(crops, amounts, generator)
        crops = _pixelate(crops, amounts, generator)
        crops = _blur(crops, amounts, generator)
        crops = _noise(crops, amounts, generator)
        crops = _jpeg(crops, amounts, generator)
        crops = _erase(crops, amounts, generator)
    return crops.clamp_(0, 255)


def augmented_samples(images: Tensor, amounts: Augmentation, seed: int) -> Tensor:
    """Draws examples of augmented training crops, for a picture.

    Args:
        images: uint8 [n, 3, S, S].
        amounts: how often and how far each step may go.
        seed: of the draws.

    Returns:
        uint8 [rows, 8, 3, S, S]: each row a crop as it is, then seven draws of it.
    """
    rows = min(_SAMPLES, len(images))
    places = torch.linspace(0, len(images) - 1, rows).round().long()
    generator = Generator().manual_seed(seed)
    columns = [images[places]]
    for _ in range(_DRAWS):
        drawn = augment(images[places], amounts, generator)
        columns.append(drawn.round().to(torch.uint8))
    return torch.stack(columns, 1)


def _uniform(shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    """Draws from -1..1."""
    return torch.rand(shape, device=like.device, generator=generator) * 2 - 1


def _hit(images: Tensor, chance: float, generator: Generator) -> Tensor:
    """Draws which crops a step changes: bool [n]."""
    draws = torch.rand(len(images), device=images.device, generator=generator)
    return draws < chance


def _chosen(images: Tensor, chance: float, generator: Generator) -> Tensor:
    """Draws which crops a step changes, as indices."""
    if not chance:
        return torch.empty(0, dtype=torch.int64, device=images.device)
    return _hit(images, chance, generator).nonzero().flatten()


def _warp(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Rotates, scales, shears, shifts and tilts with one resampling."""
    if not amounts.warp_chance:
        return images
    count, _, height, width = images.shape
    draws = _uniform((count, 8), images, generator)
    # With all draws 0 a crop stays as it is.
    draws *= _hit(images, amounts.warp_chance, generator)[:, None]
    angle = draws[:, 0] * (amounts.rotation * torch.pi / 180)
    scale = (1 - amounts.zoom) ** draws[:, 1]
    shear = draws[:, 2] * amounts.shear
    matrix = torch.zeros(count, 3, 3, device=images.device)
    matrix[:, 0, 0] = angle.cos() * scale
    matrix[:, 0, 1] = (shear - angle.sin()) * scale
    matrix[:, 1, 0] = angle.sin() * scale
    matrix[:, 1, 1] = angle.cos() * scale * (1 + amounts.aspect * draws[:, 7])
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


def _color(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Changes brightness, contrast and saturation, and the tint of the light."""
    if not amounts.color_chance:
        return images
    count = images.shape[0]
    hit = _hit(images, amounts.color_chance, generator)[:, None, None, None]
    amount = amounts.color * hit
    draws = _uniform((count, 3, 1, 1, 1), images, generator)
    brightness, contrast, saturation = (1 + amount * draw for draw in draws.unbind(1))
    tint = 1 + amount / 4 * _uniform((count, 3, 1, 1), images, generator)
    gray = images.mean(1, keepdim=True)
    images = gray + (images - gray) * saturation
    center = images.mean((1, 2, 3), keepdim=True)
    return (center + (images - center) * contrast) * (brightness * tint)


def _downscale(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Reduces the resolution, as for a player far from the camera."""
    side = images.shape[-1]
    chosen = _chosen(images, amounts.downscale_chance, generator)
    shape, device = (len(chosen),), images.device
    drawn = torch.randint(_RESOLUTIONS, shape, device=device, generator=generator)
    for part in range(_RESOLUTIONS):
        group = chosen[drawn == part]
        if len(group):
            share = amounts.downscale_to ** ((_RESOLUTIONS - part) / _RESOLUTIONS)
            small = F.interpolate(
                images[group],
                size=max(8, round(side * share)),
                mode="bilinear",
                antialias=True,
            )
            images[group] = F.interpolate(small, size=side, mode="bilinear")
    return images


def _pixelate(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Fills each square with one of its pixels, as poor upscaling does."""
    chosen = _chosen(images, amounts.pixelate_chance, generator)
    if not len(chosen):
        return images
    side = images.shape[-1]
    draws = torch.rand(len(chosen), 1, device=images.device, generator=generator)
    blocks = 2 + (amounts.pixelate_block - 2) * draws
    places = torch.arange(side, device=images.device)
    middles = ((places / blocks).floor() + 0.5) * blocks
    taken = middles.long().clamp_max_(side - 1)
    rows, columns = taken[:, None, :, None], taken[:, None, None, :]
    channels = torch.arange(3, device=images.device)[:, None, None]
    images[chosen] = images[chosen[:, None, None, None], channels, rows, columns]
    return images


def _blur(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Blurs with a separate Gaussian along each axis: lens and motion."""
    chosen = _chosen(images, amounts.blur_chance, generator)
    count = len(chosen)
    if not count:
        return images
    draws = torch.rand(count, 2, 1, device=images.device, generator=generator)
    spread = amounts.blur_sd * (0.2 + 0.8 * draws)
    radius = math.ceil(1.3 * amounts.blur_sd)
    taps = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-(taps**2) / (2 * spread**2))
    kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(3, 0)
    side = images.shape[-1]
    stack = images[chosen].reshape(1, count * 3, side, side)
    stack = F.pad(stack, (radius,) * 4, mode="replicate")
    stack = F.conv2d(stack, kernel[:, 0, None, :, None], groups=count * 3)
    stack = F.conv2d(stack, kernel[:, 1, None, None, :], groups=count * 3)
    images[chosen] = stack.view(count, 3, side, side)
    return images


def _noise(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Adds sensor noise, from none to the amount."""
    if not amounts.noise * amounts.noise_chance:
        return images
    spread = 255 * amounts.noise * _uniform((len(images), 1), images, generator)
    spread *= _hit(images, amounts.noise_chance, generator)[:, None]
    noise = torch.randn(images.shape, device=images.device, generator=generator)
    return images.addcmul_(noise, spread[:, :, None, None])


def _jpeg(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Compresses, as cameras, broadcasts and archives do."""
    chosen = _chosen(images, amounts.jpeg_chance, generator)
    if len(chosen):
        draws = torch.rand(len(chosen), device=images.device, generator=generator)
        qualities = torch.lerp(
            draws.new_tensor(amounts.jpeg_quality), draws.new_tensor(_BEST_JPEG), draws
        )
        images[chosen] = compress(images[chosen].clamp_(0, 255), qualities)
    return images


def _erase(images: Tensor, amounts: Augmentation, generator: Generator) -> Tensor:
    """Hides a rectangle, as an arm or a ball does."""
    if not amounts.erasing_chance:
        return images
    count, _, height, width = images.shape
    draws = torch.rand(count, 8, device=images.device, generator=generator)
    half = amounts.erasing_size * (0.1 + 0.4 * draws[:, 1:3])
    xs = (torch.arange(width, device=images.device) + 0.5) / width
    ys = (torch.arange(height, device=images.device) + 0.5) / height
    inside_x = (xs - draws[:, 3:4]).abs() < half[:, :1]
    inside_y = (ys - draws[:, 4:5]).abs() < half[:, 1:]
    hidden = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    hidden &= (draws[:, 0] < amounts.erasing_chance)[:, None, None, None]
    return torch.where(hidden, 255 * draws[:, 5:8, None, None], images)
