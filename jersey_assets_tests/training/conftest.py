"""Small crops, loaded once, and a training on them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets.labels.mapping import class_mapping
from jersey_assets.training.data.crops import Crops, load_crops
from jersey_assets.training.fit import fit
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.result import Training
from jersey_assets_tests.training.quick import SIZE, data_of, quick_fit
from jersey_assets_tests.training.resuming import BATCHES, KNOBS


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


@pytest.fixture(scope="session")
def training(labels: list[str], train: Crops, valid: Crops) -> Training:
    """Two epochs by the default recipe's other knobs."""
    return quick_fit(labels, train, valid)


@pytest.fixture(scope="module")
def few(train: Crops) -> Crops:
    count = 8 * BATCHES + 3
    return Crops(train.images[:count], train.targets[:count], train.names[:count])


@pytest.fixture
def run(labels: list[str], few: Crops, valid: Crops) -> Callable[..., Training]:
    def run(scratch: Path | None = None, data: Crops = few, **knobs: Any) -> Training:
        recipe = Recipe.model_validate(KNOBS | knobs)
        plan = Plan(recipe, data_of(labels, data, valid))
        return fit(plan, lambda *_: None, scratch)

    return run


@pytest.fixture(scope="module")
def whole(labels: list[str], few: Crops, valid: Crops) -> Training:
    """A training that nothing interrupts."""
    recipe = Recipe.model_validate(KNOBS)
    return fit(Plan(recipe, data_of(labels, few, valid)), lambda *_: None)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sends this process a real signal within a step."""

    def arrange(
        epoch: int, batch: int, step: str = "training", number: int = signal.SIGTERM
    ) -> None:
        name = f"{step}_step"
        original = getattr(TrainingModule, name)
        sent: list[bool] = []

        def interrupting(module: TrainingModule, data: Any, index: int) -> Any:
            if (module.current_epoch, index) == (epoch, batch) and not sent:
                sent.append(True)
                os.kill(os.getpid(), number)
            return original(module, data, index)

        monkeypatch.setattr(TrainingModule, name, interrupting)

    return arrange
