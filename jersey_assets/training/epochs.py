"""The figures of each epoch, the ranking of epochs, and which weights are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BEST_EPOCHS = 3


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch, counted from 1; `valid_*` are of the averaged weights.

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

    @property
    def file(self) -> str:
        """Name of the file that holds this epoch's weights."""
        return f"epoch_{self.epoch:03}.ckpt"

    def line(self, epochs: int) -> str:
        """The epoch as one line for a person."""
        return (
            f"epoch {self.epoch:>3}/{epochs}  train loss {self.train_loss:.3f}  "
            f"valid loss {self.valid_loss:.3f}  valid top-1 {self.valid_top1:6.1%}  "
            f"{self.seconds:4.0f} s"
        )


def ranked(epochs: Sequence[Epoch]) -> list[Epoch]:
    """The epochs, best first: by valid top-1, among equal ones by valid loss."""
    return sorted(epochs, key=lambda e: (-e.valid_top1, e.valid_loss, e.epoch))


def kept(epochs: Sequence[Epoch]) -> list[Epoch]:
    """The epochs whose weights are kept: the best three, best first, and the last."""
    best = ranked(epochs)[:BEST_EPOCHS]
    return best + [epoch for epoch in epochs[-1:] if epoch not in best]


def last_rise(epochs: Sequence[Epoch], min_delta: float) -> int:
    """The last epoch whose valid top-1 beat all earlier ones by more than that."""
    best, risen = -math.inf, 0
    for epoch in epochs:
        if epoch.valid_top1 > best + min_delta:
            best, risen = epoch.valid_top1, epoch.epoch
    return risen


def last_quarter(epochs: Sequence[Epoch]) -> dict[str, float] | None:
    """What the last quarter of the epochs gained over the best of the earlier ones.

    Returns:
        `top1_rise`, a share, and `loss_fall`, both of valid; None if there are too few
        epochs to judge.
    """
    before = epochs[: 3 * len(epochs) // 4]
    if not before:
        return None
    top1, former_top1 = (max(e.valid_top1 for e in part) for part in (epochs, before))
    loss, former_loss = (min(e.valid_loss for e in part) for part in (epochs, before))
    return {"top1_rise": top1 - former_top1, "loss_fall": former_loss - loss}
