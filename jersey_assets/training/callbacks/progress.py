"""Logs progress within an epoch, and measures speed and memory."""

from __future__ import annotations

import logging
import resource
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from jersey_assets.training.record import Record

SECONDS_BETWEEN = 10.0
"""Each line is an event in Dagster's log, which keeps it forever."""

log = logging.getLogger(__name__)


class Progress(Callback):
    """Logs percent, images per second and the time left, at a bounded rate."""

    def __init__(self, record: Record, batch_size: int) -> None:
        """Starts, or continues the record of an interrupted training.

        Args:
            record: gets speed and memory.
            batch_size: crops in a batch, of all devices together.
        """
        self._record, self._batch_size = record, batch_size
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
        self._record.train_images += self._batch_size
        self._record.train_seconds += now - self._mark
        self._mark = now
        if now - self._said >= SECONDS_BETWEEN and trainer.is_global_zero:
            self._said = now
            self._say(trainer, (index + 1) / int(trainer.num_training_batches))

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        record, device = self._record, trainer.strategy.root_device
        record.peak_memory_mb = max(record.peak_memory_mb, round(_peak_memory()))
        if device.type == "cuda":
            peak = round(torch.cuda.max_memory_allocated(device) / 1e6)
            record.peak_gpu_memory_mb = max(record.peak_gpu_memory_mb, peak)

    def _say(self, trainer: pl.Trainer, share: float) -> None:
        epochs = _epochs(trainer)
        whole = (trainer.current_epoch + share) / epochs
        passed = time.monotonic() - self._start
        left = passed * (1 - whole) / (whole - self._share_at_start)
        speed = self._record.train_images / self._record.train_seconds
        log.info(
            "epoch %d/%d: %.0f %% of the epoch, %.0f %% of the training, "
            "%.0f images/s, %s left",
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
    """Formats a time for people: 40 s, 12 min, 3 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _peak_memory() -> float:
    """The peak memory of this process, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
