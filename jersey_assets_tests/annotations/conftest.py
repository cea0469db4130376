"""A small dataset that holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jersey_assets_tests.annotations.datasets import (
    TEST_ROWS,
    TRAIN_ROWS,
    VALID_ROWS,
    Dataset,
    good_rows,
)


@pytest.fixture(scope="session")
def pattern_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that `good` copies, drawn once."""
    data = Dataset(tmp_path_factory.mktemp("pattern"))
    seed = 0
    for split, count in (
        ("train", TRAIN_ROWS),
        ("valid", VALID_ROWS),
        ("test", TEST_ROWS),
    ):
        for number in range(count):
            seed += 1
            data.image(f"{split}/crops/{number}.png", seed)
        data.lines(f"{split}/annotations.jsonl", good_rows(count))
    return data.root


@pytest.fixture
def good(pattern_dataset: Path, tmp_path: Path) -> Dataset:
    """A dataset of three splits in which every row holds."""
    root = tmp_path / "dataset"
    link: Callable[[str, str], object] = os.link
    shutil.copytree(pattern_dataset, root, copy_function=link)
    return Dataset(root)
