"""Augmentation: seeded, within range, each crop its own, and never mirrored."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from jersey_assets.training.augment.augmentation import augment, augmented_samples
from jersey_assets.training.recipe import Augmentation

STILL = dict.fromkeys(
    (name for name in Augmentation.model_fields if name.endswith("_chance")), 0.0
)
NOTHING = Augmentation(**STILL)
UNMOVED = dict.fromkeys(
    ("rotation", "zoom", "aspect", "shift", "shear", "perspective"), 0.0
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
    assert torch.equal(still, crops().float())


def test_a_warp_by_nothing_leaves_the_crops() -> None:
    amounts = NOTHING.model_copy(update=UNMOVED | {"warp_chance": 1.0})
    still = augment(crops(), amounts, torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, crops().float(), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"warp_chance": 1.0, "rotation": 20.0},
        {"warp_chance": 1.0, "zoom": 0.4},
        {"warp_chance": 1.0, "aspect": 0.5},
        {"warp_chance": 1.0, "shift": 0.3},
        {"warp_chance": 1.0, "shear": 0.5},
        {"warp_chance": 1.0, "perspective": 0.4},
        {"color_chance": 1.0, "color": 0.5},
        {"downscale_chance": 1.0},
        {"pixelate_chance": 1.0},
        {"blur_chance": 1.0},
        {"noise_chance": 1.0, "noise": 0.2},
        {"jpeg_chance": 1.0, "jpeg_quality": 5.0},
        {"erasing_chance": 1.0},
    ],
)
def test_each_step_does_something_and_differs_between_crops(
    change: dict[str, float],
) -> None:
    picture = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator())
    same = picture.expand(16, 3, 32, 32).to(torch.uint8)
    amounts = NOTHING.model_copy(update=UNMOVED | change)
    made = augment(same, amounts, torch.Generator().manual_seed(0))
    assert not torch.allclose(made, same.float(), atol=1)
    others = (made[1:] - made[0]).abs().amax((1, 2, 3))
    assert (others > 1).any()


@pytest.mark.parametrize("step", sorted(STILL))
def test_a_chance_is_the_share_of_the_crops_that_change(step: str) -> None:
    picture = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator())
    same = picture.expand(400, 3, 32, 32).to(torch.uint8)
    amounts = NOTHING.model_copy(update={step: 0.25})
    made = augment(same, amounts, torch.Generator().manual_seed(0))
    changed = ((made - same).abs().amax((1, 2, 3)) > 0.01).float().mean()
    assert changed == pytest.approx(0.25, abs=0.06)


def test_strengths_bound_what_a_step_does() -> None:
    amounts = NOTHING.model_copy(
        update={"erasing_chance": 1.0, "erasing_size": 0.25, "warp_chance": 0.0}
    )
    changed = (draw(amounts, count=64) != crops(64)).any(1)
    assert (changed.any(1).sum(1) <= 8).all()
    assert (changed.any(2).sum(1) <= 8).all()


def test_pixelating_shows_squares_of_one_colour() -> None:
    amounts = NOTHING.model_copy(update={"pixelate_chance": 1.0, "pixelate_block": 2.0})
    squares = draw(amounts).unfold(2, 2, 2).unfold(3, 2, 2)
    assert (squares.amax((-2, -1)) == squares.amin((-2, -1))).all()


@pytest.mark.parametrize(
    "knob", [{"jpeg_quality": 0}, {"blur_chance": 1.1}, {"pixelate_block": 1}]
)
def test_a_value_out_of_range_is_refused_by_name(knob: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(knob))):
        Augmentation.model_validate(knob)


def test_no_crop_is_mirrored() -> None:
    made = draw(Augmentation(), count=256).mean((1, 2))
    assert (made[:, 20:28].mean(1) > made[:, 4:12].mean(1)).all()


def test_the_input_is_left_alone() -> None:
    images = crops()
    augment(images, Augmentation(), torch.Generator().manual_seed(0))
    assert torch.equal(images, crops())


def test_samples_are_crops_beside_draws_of_them() -> None:
    images = crops(40)
    samples = augmented_samples(images, Augmentation(), seed=3)
    assert samples.shape == (6, 8, 3, 32, 32)
    assert samples.dtype == torch.uint8
    assert torch.equal(samples[:, 0], images[:6])
    assert (samples[:, 1:] != samples[:, :1]).flatten(2).any(2).all()
    assert augmented_samples(images[:2], NOTHING, seed=0).shape[0] == 2
