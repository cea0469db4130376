"""Augmentation: seeded, within range, each crop its own, and never mirrored."""

from __future__ import annotations

import pytest
import torch

from jersey_assets.training.augment import augment
from jersey_assets.training.recipe import Augmentation

NOTHING = Augmentation(
    rotation=0,
    zoom=0,
    shift=0,
    shear=0,
    perspective=0,
    color=0,
    downscale=0,
    blur=0,
    noise=0,
    erasing=0,
)


def draw(amounts: Augmentation, seed: int = 0, count: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(crops(count), amounts, generator)


def crops(count: int = 16) -> torch.Tensor:
    """The same picture, dark on the left, bright on the right."""
    ramp = torch.linspace(40, 215, 32).to(torch.uint8)
    return ramp.expand(count, 3, 32, 32).clone()


def test_the_same_seed_gives_the_same_crops() -> None:
    assert torch.equal(draw(Augmentation()), draw(Augmentation()))
    assert not torch.equal(draw(Augmentation()), draw(Augmentation(), seed=1))


def test_the_result_is_float_in_0_to_255() -> None:
    made = draw(Augmentation(color=1, noise=0.5), count=64)
    assert made.dtype == torch.float32
    assert made.shape == (64, 3, 32, 32)
    assert made.min() >= 0
    assert made.max() <= 255


def test_with_nothing_to_do_the_crops_stay() -> None:
    still = augment(crops(), NOTHING, torch.Generator().manual_seed(0))
    # Warping by the aspect alone leaves a ramp along x as it is.
    torch.testing.assert_close(still, crops().float(), atol=0.6, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": 20.0},
        {"zoom": 0.4},
        {"shift": 0.3},
        {"perspective": 0.4},
        {"color": 0.5},
        {"noise": 0.2},
        {"downscale": 1.0},
        {"blur": 1.0},
        {"erasing": 1.0},
    ],
)
def test_each_knob_does_something_and_differs_between_crops(
    change: dict[str, float],
) -> None:
    picture = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator())
    same = picture.expand(16, 3, 32, 32).to(torch.uint8)
    made = augment(
        same, NOTHING.model_copy(update=change), torch.Generator().manual_seed(0)
    )
    still = augment(same, NOTHING, torch.Generator().manual_seed(0))
    assert not torch.allclose(made, still, atol=1)
    assert not torch.allclose(made[0], made[1], atol=1)


def test_no_crop_is_mirrored() -> None:
    made = draw(Augmentation(), count=256).mean((1, 2))
    assert (made[:, 20:28].mean(1) > made[:, 4:12].mean(1)).all()


def test_the_input_is_left_alone() -> None:
    images = crops()
    augment(images, Augmentation(), torch.Generator().manual_seed(0))
    assert torch.equal(images, crops())
