"""Stops a training whose loss is NaN or infinite, before any of it is saved."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from jersey_assets.training.errors import TrainingError

_CHECK_EVERY = 50
_NEVER = 2**62


class FiniteLoss(Callback):
    """Raises if a loss is NaN or infinite, with step and learning rate.

    The first such step is remembered on the loss's device. Reading it waits for the
    device, so on a GPU it is read now and then, before each validation and before each
    save; on a CPU, where it costs nothing, at each step.
    """

    def __init__(self) -> None:
        """Starts with no such step."""
        self._first: Tensor | None = None

    def on_before_backward(
        self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor
    ) -> None:
        step = trainer.global_step
        with torch.no_grad():
            bad = torch.where(torch.isfinite(loss), _NEVER, step)
            self._first = bad if self._first is None else self._first.minimum(bad)
        if loss.device.type == "cpu" or step % _CHECK_EVERY == 0:
            self._check(trainer)

    def on_validation_start(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        self._check(trainer)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        if self._first is None or (step := int(self._first)) == _NEVER:
            return
        scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
        rate = scheduler.base_lrs[0] * scheduler.lr_lambdas[0](step)
        raise TrainingError(
            f"the loss is not finite at step {step} of epoch "
            f"{trainer.current_epoch + 1} (learning rate {rate:.2e}); try a lower "
            "learning_rate or precision 32-true"
        )
