"""A training of seconds, and what it is made of."""

from __future__ import annotations

import os
from pathlib import Path

from jersey_assets.training.data.crops import Crops
from jersey_assets.training.data.training_data import TrainingData
from jersey_assets.training.fit import fit
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.result import Training

SIZE = 32
MEAN, STD = (0.45, 0.43, 0.42), (0.25, 0.24, 0.24)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def data_of(labels: list[str], train: Crops, valid: Crops) -> TrainingData:
    return TrainingData(tuple(labels), train, valid, MEAN, STD)


def quick_fit(
    labels: list[str], train: Crops, valid: Crops, **knobs: object
) -> Training:
    """A real training of seconds."""
    recipe = Recipe.model_validate(
        {"image_size": SIZE, "epochs": 2, "batch_size": 32, "threads": 1} | knobs
    )
    return fit(Plan(recipe, data_of(labels, train, valid)), lambda *_: None)
