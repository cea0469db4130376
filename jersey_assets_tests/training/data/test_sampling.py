"""Samplers: how often each class is shown, and that seed and epoch decide it."""

from __future__ import annotations

import pytest
import torch

from jersey_assets.training.data.batches import make_loaders
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.data.sampling import EpochOrder
from jersey_assets.training.recipe import Balance, Recipe
from jersey_assets_tests.training.quick import quick_fit

COUNTS = [900, 90, 10]
TARGETS = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))


def test_each_crop_is_shown_once_without_a_sampler() -> None:
    order = EpochOrder(TARGETS, "none", 0)(3)
    assert order.sort().values.tolist() == list(range(1000))
    assert EpochOrder(TARGETS, "none", 0).count_draws(4, 1000, 3) == [
        4 * count for count in COUNTS
    ]


@pytest.mark.parametrize(
    ("sampler", "shares"),
    [("balanced", [1 / 3, 1 / 3, 1 / 3]), ("sqrt", [0.7034, 0.2224, 0.0741])],
)
def test_rare_classes_are_drawn_as_often_as_the_sampler_says(
    sampler: Balance, shares: list[float]
) -> None:
    draws = EpochOrder(TARGETS, sampler, 0).count_draws(20, 1000, 3)
    assert sum(draws) == 20_000
    assert [count / 20_000 for count in draws] == pytest.approx(shares, abs=0.015)


@pytest.mark.parametrize("sampler", ["none", "sqrt", "balanced"])
def test_seed_and_epoch_decide_the_order(sampler: Balance) -> None:
    order = EpochOrder(TARGETS, sampler, 5)
    assert torch.equal(order(2), EpochOrder(TARGETS, sampler, 5)(2))
    assert not torch.equal(order(2), order(3))
    assert not torch.equal(order(2), EpochOrder(TARGETS, sampler, 6)(2))


def test_the_loader_shows_what_the_sampler_drew_in_an_epoch_of_the_same_length() -> (
    None
):
    images = torch.zeros(1000, 3, 1, 1, dtype=torch.uint8)
    crops = Crops(images, TARGETS, tuple("x" * 1000))
    recipe = Recipe(batch_size=64, sampler="balanced")
    loader, _ = make_loaders(recipe, crops, crops)
    loader.sampler.set_epoch(7)  # type: ignore[attr-defined]
    shown = torch.cat([targets for _, targets in loader])
    assert len(shown) == 1000 // 64 * 64
    drawn = TARGETS[EpochOrder(TARGETS, "balanced", recipe.seed)(7)]
    assert torch.equal(shown, drawn[: len(shown)])


def test_a_training_says_how_often_each_label_was_shown(
    labels: list[str], train: Crops, valid: Crops
) -> None:
    made = quick_fit(labels, train, valid, sampler="balanced")
    draws = made.summary["draws"]
    assert list(draws) == labels
    assert sum(draws.values()) == 2 * 160
    expected = EpochOrder(train.targets, "balanced", 0).count_draws(2, 160, len(labels))
    assert list(draws.values()) == expected
