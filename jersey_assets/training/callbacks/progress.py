"""Progress within an epoch, said now and then, and what the training steps took."""

from __future__ import annotations

import logging
import resource
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

SECONDS_BETWEEN = 10.0
"""Each line is an event in Dagster's log, which keeps it for ever."""

log = logging.getLogger(__name__)


class Progress(Callback):
    """Logs percent, images per second and the time left, at a bounded rate.

    What it measures goes into `facts`: `train_images` and `train_seconds` of the
    training steps alone, without validation; `peak_memory_mb` of this process, and
    on a GPU `peak_gpu_memory_mb`.
    """

    def __init__(self, facts: dict[str, Any], batch_size: int) -> None:
        """Starts, or goes on with the facts of an interrupted training.

        Args:
            facts: where the figures are kept.
            batch_size: crops in a batch, of all devices together.
        """
        self._facts, self._batch_size = facts, batch_size
        facts.setdefault("train_images", 0)
        facts.setdefault("train_seconds", 0.0)
        self._said = self._mark = self._start = 0.0
        self._share_at_start = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._said = self._mark = self._start = time.monotonic()
        batches = int(trainer.num_training_batches)
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed % batches
        self._share_at_start = (trainer.current_epoch + done / batches) / _epochs(
            trainer
        )

    def on_train_epoch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        self._mark = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        now = time.monotonic()
        self._facts["train_images"] += self._batch_size
        self._facts["train_seconds"] += now - self._mark
        self._mark = now
        if now - self._said >= SECONDS_BETWEEN and trainer.is_global_zero:
            self._said = now
            self._say(trainer, (index + 1) / int(trainer.num_training_batches))

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        peaks = {"peak_memory_mb": _peak_memory()}
        device = trainer.strategy.root_device
        if device.type == "cuda":
            peaks["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
        for name, value in peaks.items():
            self._facts[name] = max(round(value), self._facts.get(name, 0))

    def _say(self, trainer: pl.Trainer, share: float) -> None:
        epochs = _epochs(trainer)
        whole = (trainer.current_epoch + share) / epochs
        passed = time.monotonic() - self._start
        left = passed * (1 - whole) / (whole - self._share_at_start)
        speed = self._facts["train_images"] / self._facts["train_seconds"]
        log.info(
            "epoch %d/%d: %.0f %% of it, %.0f %% of the training, %.0f images/s, "
            "%s left",
            trainer.current_epoch + 1,
            epochs,
            100 * share,
            100 * whole,
            speed,
            duration(left),
        )


def _epochs(trainer: pl.Trainer) -> int:
    assert trainer.max_epochs is not None
    return trainer.max_epochs


def duration(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 3 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _peak_memory() -> float:
    """The most memory that this process ever held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
