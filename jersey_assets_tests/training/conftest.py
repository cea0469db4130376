"""Small crops, loaded once, and a training on them."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets.labels.mapping import class_mapping
from jersey_assets.training.data.crops import Crops, load_crops
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


@pytest.fixture(scope="session")
def table(rendered: Path) -> pd.DataFrame:
    """The validated table of the rendered dataset."""
    return validate(rendered, Rules()).validated


@pytest.fixture(scope="session")
def labels(table: pd.DataFrame) -> list[str]:
    return list(class_mapping(table))


@pytest.fixture(scope="session")
def train(rendered: Path, table: pd.DataFrame) -> Crops:
    rows = table[table["split"] == "train"]
    return load_crops(rendered, rows, class_mapping(table), SIZE)


@pytest.fixture(scope="session")
def valid(rendered: Path, table: pd.DataFrame) -> Crops:
    rows = table[table["split"] == "valid"]
    return load_crops(rendered, rows, class_mapping(table), SIZE)


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


@pytest.fixture(scope="session")
def training(labels: list[str], train: Crops, valid: Crops) -> Training:
    """Two epochs by the default recipe's other knobs."""
    return quick_fit(labels, train, valid)
