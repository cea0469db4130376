"""The history of a training: what each epoch gave, as it happens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from jersey_assets.training.errors import TrainingError


@dataclass(frozen=True)
class Epoch:
    """What one epoch, counted from 1, gave; `valid_*` are of the averaged weights.

    Losses are mean cross-entropies (training: smoothed, on augmented crops), top-k
    shares in 0..1, `seconds` since the start of training.
    """

    epoch: int
    train_loss: float
    train_top1: float
    valid_loss: float
    valid_top1: float
    valid_top5: float
    learning_rate: float
    seconds: float

    def line(self, epochs: int) -> str:
        """The epoch as one line for a person."""
        return (
            f"epoch {self.epoch:>3}/{epochs}  train loss {self.train_loss:.3f}  "
            f"valid loss {self.valid_loss:.3f}  valid top-1 {self.valid_top1:6.1%}  "
            f"{self.seconds:4.0f} s"
        )


def last_quarter(epochs: Sequence[Epoch]) -> dict[str, float] | None:
    """What the last quarter of the epochs gained over the best of those before.

    Returns:
        `top1_rise`, a share, and `loss_fall`, both of valid; None where there are too
        few epochs to tell.
    """
    before = epochs[: 3 * len(epochs) // 4]
    if not before:
        return None
    top1, former_top1 = (max(e.valid_top1 for e in part) for part in (epochs, before))
    loss, former_loss = (min(e.valid_loss for e in part) for part in (epochs, before))
    return {"top1_rise": top1 - former_top1, "loss_fall": former_loss - loss}


class History(Callback):
    """Collects an `Epoch` after each validation and passes it on."""

    def __init__(
        self,
        report: Callable[[Epoch], None],
        seen: Sequence[Epoch] = (),
        seconds: float = 0.0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts a history, or goes on with one.

        Args:
            report: called with each new epoch.
            seen: the epochs before the training was interrupted.
            seconds: how long it had trained by then.
            facts: what other callbacks had noted by then, JSON values only.
        """
        self.epochs = list(seen)
        self.facts = dict(facts or {})
        self.device = ""
        self._report = report
        self._before = seconds
        self._start = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, before an interruption included."""
        return self._before + time.monotonic() - self._start

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._start = time.monotonic()
        self.device = str(trainer.strategy.root_device)

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = Epoch(
            epoch=trainer.current_epoch + 1,
            train_loss=float(module.train_loss.compute()),  # type: ignore[operator, union-attr]
            train_top1=float(module.train_top1.compute()),  # type: ignore[operator, union-attr]
            valid_loss=seen["valid_loss"],
            valid_top1=seen["valid_top1"],
            valid_top5=seen["valid_top5"],
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
            seconds=self.seconds,
        )
        if not math.isfinite(epoch.valid_loss):
            raise TrainingError(
                f"the averaged weights' valid loss is {epoch.valid_loss} in epoch "
                f"{epoch.epoch} (learning rate {epoch.learning_rate:.2e}); try a lower "
                "learning_rate or precision 32-true"
            )
        self.epochs.append(epoch)
        self._report(epoch)
