"""Makes training batches and loaders from the crops in memory, without workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from jersey_assets.text import count
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.data.sampling import EpochOrder
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
    """Indices of each batch; in the table's order unless an epoch's order is given."""

    def __init__(
        self,
        count: int,
        batch_size: int,
        order: Callable[[int], Tensor] | None = None,
    ) -> None:
        self.count, self.batch_size, self.order = count, batch_size, order
        self.epoch = 0
        self.taken = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        # In a smaller last batch, each crop would weigh too much in BatchNorm.
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (self.order is None and rest > 0)

    def __iter__(self) -> Iterator[Tensor]:
        order = self.order(self.epoch) if self.order else torch.arange(self.count)
        batches = torch.split(order, self.batch_size)[: len(self)]
        first, self.taken = self.taken % len(self), 0
        for self.taken, batch in enumerate(batches[first:], first + 1):
            yield batch


class _Loader(DataLoader[tuple[Tensor, Tensor]]):
    """A loader whose position Lightning can save in the middle of an epoch."""

    def __init__(self, crops: Crops, batches: _Batches) -> None:
        super().__init__(_CropBatches(crops), sampler=batches, batch_size=None)
        self._batches = batches

    def state_dict(self) -> dict[str, int]:
        """Returns how many batches of the epoch have been taken."""
        return {"taken": self._batches.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues after that many batches."""
        self._batches.taken = state["taken"]


def rows_per_batch(recipe: Recipe, train: Crops) -> int:
    """Number of crops in a training batch, of all devices together.

    A dataset smaller than a batch is one batch; every device gets equally many rows.

    Raises:
        TrainingError: that would be less than two for each device.
    """
    size = min(recipe.batch_size, len(train)) // recipe.devices * recipe.devices
    if size < 2 * recipe.devices:
        raise TrainingError(
            f"cannot make a training batch: each of {recipe.devices} devices needs 2 "
            f"crops or more, train has {count(len(train), 'crop')} and batch_size is "
            f"{recipe.batch_size}; add crops, lower devices, or raise batch_size"
        )
    return size


def make_loaders(
    recipe: Recipe, train: Crops, valid: Crops
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Makes the loaders of training and validation; batches are (images, targets).

    Raises:
        TrainingError: there are too few crops for a step, or none to validate on.
    """
    if not len(valid):
        raise TrainingError(
            f"the valid split has no crops to choose the epoch by (train: {len(train)})"
        )
    size = rows_per_batch(recipe, train)
    order = EpochOrder(train.targets, recipe.sampler, recipe.seed)
    return (
        _Loader(train, _Batches(len(train), size, order)),
        _Loader(valid, _Batches(len(valid), EVALUATION_BATCH)),
    )
