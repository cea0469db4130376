"""Records the losses, top-1 and time of each epoch while the training runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from jersey_assets.training.epochs import Epoch
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.record import Record


class History(Callback):
    """Records an `Epoch` after each validation and passes it on."""

    def __init__(self, record: Record, report: Callable[[Epoch], None]) -> None:
        """Starts a history, or continues the record of an interrupted training.

        Args:
            record: gets the epochs, the time, the device and its precision.
            report: called with each new epoch.
        """
        self._record, self._report = record, report
        self._before = record.seconds
        self._start = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._start = time.monotonic()
        self._record.device = str(trainer.strategy.root_device)
        self._record.precision = trainer.precision

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any
    ) -> None:
        self._note_time()

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        self._note_time()
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = Epoch(
            epoch=trainer.current_epoch + 1,
            train_loss=float(module.train_loss.compute()),  # type: ignore[operator, union-attr]
            train_top1=float(module.train_top1.compute()),  # type: ignore[operator, union-attr]
            valid_loss=seen["valid_loss"],
            valid_top1=seen["valid_top1"],
            valid_top5=seen["valid_top5"],
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
            seconds=self._record.seconds,
        )
        if not math.isfinite(epoch.valid_loss):
            raise TrainingError(
                f"the averaged weights' valid loss is {epoch.valid_loss} in epoch "
                f"{epoch.epoch} (learning rate {epoch.learning_rate:.2e}); try a lower "
                "learning_rate or precision 32-true"
            )
        self._record.epochs.append(epoch)
        self._report(epoch)

    def _note_time(self) -> None:
        self._record.seconds = self._before + time.monotonic() - self._start
