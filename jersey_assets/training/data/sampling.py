"""The sampler: which crops an epoch shows, and in what order, by seed and epoch."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from jersey_assets.training.recipe import Balance

# A class is drawn in proportion to this power of its number of crops.
_POWER: dict[Balance, float] = {"none": 1.0, "sqrt": 0.5, "balanced": 0.0}


class EpochOrder:
    """The order of the train crops in each epoch."""

    def __init__(self, targets: Tensor, sampler: Balance, seed: int) -> None:
        """Sets where the crops are drawn from.

        Args:
            targets: int64 [n], the crops' class indices.
            sampler: `none` shows each crop once per epoch. The others draw as many
                with replacement, each class equally often (`balanced`) or in
                proportion to the square root of its number of crops (`sqrt`).
            seed: the recipe's seed.
        """
        self._targets, self._sampler, self._seed = targets, sampler, seed
        counts = targets.bincount().double()
        # Each of a class's n crops has a share of n ** power / n.
        self._shares = (counts ** (_POWER[sampler] - 1))[targets]

    def __call__(self, epoch: int) -> Tensor:
        """Indices int64 [n] of the crops of an epoch, counted from 0."""
        generator = Generator().manual_seed(self._seed * 1_000_003 + epoch)
        count = len(self._targets)
        if self._sampler == "none":
            return torch.randperm(count, generator=generator)
        return self._shares.multinomial(count, replacement=True, generator=generator)

    def count_draws(self, epochs: int, shown: int, num_classes: int) -> list[int]:
        """Counts how often each class was shown in a training.

        Args:
            epochs: how many epochs there were.
            shown: crops per epoch that fill whole batches.
            num_classes: number of classes.
        """
        draws = torch.zeros(num_classes, dtype=torch.int64)
        for epoch in range(epochs):
            drawn = self._targets[self(epoch)[:shown]]
            draws += drawn.bincount(minlength=num_classes)
        return draws.tolist()
