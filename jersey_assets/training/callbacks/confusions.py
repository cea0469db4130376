"""Keeps confusion matrices of valid by epoch, from the answers of validation."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from jersey_assets.training.callbacks.history import History
from jersey_assets.training.callbacks.order import Ordered
from jersey_assets.training.epochs import ranked
from jersey_assets.training.record import Record


class Confusions(Ordered):
    """Keeps the best epoch's matrix, and one every few epochs."""

    after = (History,)

    def __init__(self, record: Record, every: int) -> None:
        """Sets which are kept.

        Args:
            record: where they go.
            every: epochs from one to the next; 0 keeps only the best epoch's.
        """
        self._record, self._every = record, every
        self._newest: list[list[int]] = []

    def on_validation_epoch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        _metric(module).reset()

    def on_validation_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        # Summed over all processes: each of them comes here.
        self._newest = _metric(module).compute().tolist()

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        epochs = self._record.epochs
        best = ranked(epochs)[0].epoch
        matrices = self._record.confusions | {epochs[-1].epoch: self._newest}
        self._record.confusions = {
            epoch: matrix
            for epoch, matrix in matrices.items()
            if epoch == best or (self._every and epoch % self._every == 0)
        }


def _metric(module: pl.LightningModule) -> Any:
    return module.valid_confusion
