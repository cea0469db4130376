"""The lossy half of JPEG beside Pillow's whole one."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from jersey_assets.training.augment.jpeg import compress
from jersey_assets.training.data.crops import Crops


def through_pillow(images: torch.Tensor, quality: int) -> torch.Tensor:
    made = []
    for image in images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        made.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float()


def at(quality: int, count: int) -> torch.Tensor:
    return torch.full((count,), float(quality))


@pytest.mark.parametrize("quality", [10, 30, 75, 95])
def test_crops_come_back_as_from_pillow(train: Crops, quality: int) -> None:
    images = train.images[:32]
    ours = compress(images.float(), at(quality, 32))
    pillows = through_pillow(images, quality)
    lost = (pillows - images).abs().mean()
    # Pillow rounds to whole numbers between the steps; that is what is left.
    assert (ours - pillows).abs().mean() < 1.5
    assert (ours - images).abs().mean() == pytest.approx(lost.item(), rel=0.1)


def test_the_best_quality_leaves_a_grey_crop_as_it_was(train: Crops) -> None:
    grey = train.images[:32].float().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert (compress(grey, at(100, 32)) - grey).abs().max() < 2.5


def test_each_crop_has_its_own_quality(train: Crops) -> None:
    images = train.images[:2].float()
    both = compress(images, torch.tensor([10.0, 90.0]))
    torch.testing.assert_close(both[:1], compress(images[:1], at(10, 1)))
    torch.testing.assert_close(both[1:], compress(images[1:], at(90, 1)))


@pytest.mark.parametrize("shape", [(33, 47), (16, 16), (8, 70)])
def test_sides_need_not_be_whole_blocks(shape: tuple[int, int]) -> None:
    images = torch.full((1, 3, *shape), 77.0)
    made = compress(images, at(50, 1))
    torch.testing.assert_close(made, images, atol=1, rtol=0)
