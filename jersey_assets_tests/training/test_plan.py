"""Plans: what a recipe needs, and what another process gets of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jersey_assets.training.data.crops import Crops
from jersey_assets.training.data.training_data import TrainingData
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.network.pretrained import Pretrained
from jersey_assets.training.plan import Plan, load_plan
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.training.killed import SIZE, made_up_crops

WEIGHTS = Pretrained("mine", {"head.bias": torch.arange(4.0)}, tuple("abcd"))


def data_of(count: int) -> TrainingData:
    crops = made_up_crops(count, 0), made_up_crops(3, 1)
    return TrainingData(tuple("abcd"), *crops, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))


def test_a_plan_says_how_far_its_training_goes() -> None:
    recipe = Recipe(batch_size=8, epochs=3, accumulate=2)
    plan = Plan(recipe, data_of(45))
    assert (plan.batch_size, plan.batches, plan.steps) == (8, 5, 9)
    assert plan.recipe.image_size == SIZE
    assert Plan(Recipe(batch_size=8), data_of(45)).epochs == 200


def test_weights_that_are_named_must_be_given_and_the_reverse() -> None:
    with pytest.raises(ValueError, match="weights: mine were not loaded"):
        Plan(Recipe(weights="mine"), data_of(45))
    with pytest.raises(ValueError, match="weights: none"):
        Plan(Recipe(), data_of(45), WEIGHTS)


def test_a_valid_split_without_crops_is_refused() -> None:
    none = Crops(torch.zeros(0, 3, SIZE, SIZE), torch.zeros(0), ())
    with pytest.raises(TrainingError, match="the valid split has no crops"):
        Plan(Recipe(), replace(data_of(45), valid=none))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_another_process_loads_the_same_plan(
    tmp_path: Path, weights: Pretrained | None
) -> None:
    recipe = Recipe(weights=weights.name if weights else "none", batch_size=8)
    plan = Plan(recipe, data_of(45), weights)
    plan.store(tmp_path / "plan")
    loaded = load_plan(tmp_path / "plan")
    assert loaded.recipe == plan.recipe
    assert loaded.digests() == plan.digests()
    assert loaded.data.train.names == plan.data.train.names


def test_each_part_of_the_data_is_in_its_digest() -> None:
    data = data_of(45)
    pixels = data.valid.images.clone()
    pixels[0, 0, 0, 0] ^= 1
    others = [
        replace(data, labels=tuple("abce")),
        replace(data, mean=(0.5, 0.4, 0.2)),
        replace(data, std=(0.25, 0.2, 0.2)),
        replace(data, train=made_up_crops(45, 7)),
        replace(data, valid=replace(data.valid, images=pixels)),
    ]
    assert len({data.digest(), *(other.digest() for other in others)}) == 6
    assert data.digest() == data_of(45).digest()
