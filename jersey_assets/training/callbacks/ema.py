"""Averaged weights: the exponential moving average (EMA) and the ramp of its decay.

Lightning's weight averaging swaps the average in for validation and writes it as a
checkpoint's `state_dict`; this adds the ramp and an update that is one fused kernel per
dtype.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


def ramped_decay(step: int, decay: float) -> float:
    """Weight of the past at an optimizer step, counted from 0.

    The ramp lets the average forget the random start, as in TensorFlow's
    `ExponentialMovingAverage(num_updates=…)`.
    """
    return min(decay, (1 + step) / (10 + step))


class ExponentialMovingAverage(WeightAveraging):
    """Averages parameters and floating-point buffers; copies the counters."""

    def __init__(self, decay: float) -> None:
        """Sets the highest weight of the past, in [0, 1)."""
        super().__init__(multi_avg_fn=self._update)
        self._decay = decay
        self._step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts the average at the model's first weights."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            assert self._average_model is not None
            # At 0 the first update would copy instead of average. On the CPU, since
            # torch reads it in each step, and reading it from a GPU would wait.
            self._average_model.n_averaged = torch.tensor(1)

    def should_update(
        self, step_idx: int | None = None, epoch_idx: int | None = None
    ) -> bool:
        """Updates after every optimizer step, whose index it remembers."""
        if step_idx is None:
            return False
        self._step = step_idx
        return True

    @property
    def average(self) -> nn.Module:
        """The Lightning module with the averaged weights."""
        assert self._average_model is not None
        return self._average_model.module

    @property
    def updates(self) -> int:
        """Optimizer steps that the average has seen."""
        assert self._average_model is not None
        return int(self._average_model.n_averaged) - 1

    @torch.no_grad()
    def _update(
        self, average: list[Tensor], current: list[Tensor], averaged: Tensor
    ) -> None:
        if average[0].is_floating_point():
            weight = 1 - ramped_decay(self._step, self._decay)
            torch._foreach_lerp_(average, current, weight)
        else:
            # BatchNorm's batch counter: an average of integers would be truncated.
            torch._foreach_copy_(average, current)
