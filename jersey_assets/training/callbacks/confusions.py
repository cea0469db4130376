"""Confusion matrices of valid by epoch, from the answers that validation gave."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from jersey_assets.training.callbacks.history import History
from jersey_assets.training.callbacks.saving import ranked


class Confusions(Callback):
    """Keeps the best epoch's matrix, and that of every so many epochs.

    They go into the history's facts as `confusions`: epoch, as text, to counts, where
    rows are the true classes.
    """

    def __init__(self, history: History, every: int) -> None:
        """Sets which are kept; comes after the history in the callbacks.

        Args:
            history: the validated epochs.
            every: 0 keeps the best epoch's alone.
        """
        self._history, self._every = history, every
        self._newest: list[list[int]] = []

    def on_validation_epoch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        _metric(module).reset()

    def on_validation_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        # Of all processes: each of them comes here.
        self._newest = _metric(module).compute().tolist()

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        epochs = self._history.epochs
        best = ranked(epochs)[0].epoch
        matrices = self._history.facts.setdefault("confusions", {})
        matrices[str(epochs[-1].epoch)] = self._newest
        self._history.facts["confusions"] = {
            epoch: matrix
            for epoch, matrix in matrices.items()
            if int(epoch) == best or (self._every and int(epoch) % self._every == 0)
        }


def _metric(module: pl.LightningModule) -> Any:
    return module.valid_confusion
