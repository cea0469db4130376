"""Batches: which crops go into each step, taken from memory without workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jersey_assets.training.crops import Crops
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.recipe import Recipe

EVALUATION_BATCH = 256


class _CropBatches(Dataset[tuple[Tensor, Tensor]]):
    """Takes whole batches out of the tensors, without a Python loop per crop."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.crops.images[indices], self.crops.targets[indices]


class _Batches(Sampler[Tensor]):
    """Indices of each batch; shuffled by seed and epoch where a seed is given."""

    def __init__(self, count: int, batch_size: int, seed: int | None = None) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        # A last, smaller batch would give its crops' BatchNorm too much weight.
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (self.seed is None and rest > 0)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.count)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(
                self.seed * 1_000_003 + self.epoch
            )
            order = torch.randperm(self.count, generator=generator)
        yield from torch.split(order, self.batch_size)[: len(self)]


def make_loaders(
    recipe: Recipe, train: Crops, valid: Crops
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Makes the loaders of training and validation; batches are (images, targets).

    Raises:
        TrainingError: there are too few crops for a step.
    """
    if len(train) < 2:
        raise TrainingError(f"the train split has {len(train)} crops: nothing to learn")
    # A dataset smaller than a batch is one batch.
    size = min(recipe.batch_size, len(train))
    loaders = []
    for crops, batches in (
        (train, _Batches(len(train), size, recipe.seed)),
        (valid, _Batches(len(valid), EVALUATION_BATCH)),
    ):
        data = _CropBatches(crops)
        loaders.append(DataLoader(data, sampler=batches, batch_size=None))
    return loaders[0], loaders[1]
