"""Sets the number of CPU threads of the training steps, by recipe or by measuring."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from jersey_assets.training.callbacks.progress import duration
from jersey_assets.training.record import Record, ThreadChoice
from jersey_assets.training.threads import Times, fastest

log = logging.getLogger(__name__)


class Threads(Callback):
    """Gives each step the recipe's number of threads, or the fastest one.

    After the first comparison the log says how long the training will take. Processes
    that train together compare together.
    """

    def __init__(self, record: Record, threads: int | None, batch_size: int) -> None:
        """Starts, or continues the record of an interrupted training.

        Args:
            record: gets the choices.
            threads: the number of threads, or None to choose by measuring, from 1 to
                as many as this process has.
            batch_size: crops in a batch, of all devices together.
        """
        self._before = torch.get_num_threads()
        self._candidates = [threads] if threads else _halves(self._before)
        self._noted = record.threads
        self._batch_size = batch_size
        self._told = False
        self._mark = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.strategy.root_device.type != "cpu":
            # The steps run on a GPU, so the number never changes.
            self._candidates = [self._before]
        if len(self._candidates) == 1:
            self._note(self._candidates[0], trainer)
        self._choice = fastest(
            self._candidates, lambda times: self._decide(times, trainer)
        )
        self._count = next(self._choice)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any
    ) -> None:
        torch.set_num_threads(self._count)
        self._mark = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any
    ) -> None:
        seconds = time.monotonic() - self._mark
        if trainer.world_size > 1 and len(self._candidates) > 1:
            shared = trainer.strategy.reduce(torch.tensor(seconds), reduce_op="mean")
            seconds = float(shared)
        self._count = self._choice.send(seconds)

    def teardown(
        self, trainer: pl.Trainer, module: pl.LightningModule, stage: str
    ) -> None:
        torch.set_num_threads(self._before)

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any
    ) -> None:
        torch.set_num_threads(self._before)

    def _decide(self, times: Times, trainer: pl.Trainer) -> None:
        best = min(times, key=times.__getitem__)
        new = self._note(best, trainer)
        if not trainer.is_global_zero:
            return
        if new and len(self._candidates) > 1:
            rates = ", ".join(
                f"{count}: {self._batch_size / times[count]:.0f}"
                if count in times
                else f"{count}: far fewer"
                for count in self._candidates
            )
            log.info("images/s by number of threads: %s; using %d", rates, best)
        if not self._told:
            self._told = True
            self._tell_plan(trainer, times[best])

    def _note(self, threads: int, trainer: pl.Trainer) -> bool:
        """Records a choice, and returns whether it differs from the last one."""
        new = not self._noted or self._noted[-1].threads != threads
        if new:
            self._noted.append(ThreadChoice(trainer.global_step, threads))
        return new

    def _tell_plan(self, trainer: pl.Trainer, seconds: float) -> None:
        batches, epochs = int(trainer.num_training_batches), trainer.max_epochs
        assert epochs
        done = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        log.info(
            "this training shows %s crops in %s batches and %d epochs; at the speed "
            "of its first batches it takes some %s more (%.0f images/s)",
            f"{epochs * batches * self._batch_size:,}",
            f"{epochs * batches:,}",
            epochs,
            duration(seconds * (epochs * batches - done)),
            self._batch_size / seconds,
        )


def _halves(count: int) -> list[int]:
    """Returns 1, …, count / 2, count."""
    return sorted({max(1, count >> shift) for shift in range(count.bit_length())})
