"""Saves a training while it runs: its best epochs, and the state to resume from."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics import Metric

from jersey_assets.text import count
from jersey_assets.training.callbacks.confusions import Confusions
from jersey_assets.training.callbacks.ema import ExponentialMovingAverage
from jersey_assets.training.callbacks.history import History
from jersey_assets.training.callbacks.order import Ordered
from jersey_assets.training.callbacks.progress import Progress
from jersey_assets.training.callbacks.threads import Threads
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.epochs import Epoch, kept, last_rise
from jersey_assets.training.errors import Interrupted
from jersey_assets.training.plan import Plan
from jersey_assets.training.record import Record
from jersey_assets.training.resume import ResumeFolder, State

SAVE_EVERY_S = 60.0
"""A kill without warning loses at most this much work, plus the current step."""
_AGREE_EVERY = 10


class Saving(Ordered):
    """Saves the training every minute and when it is asked to stop.

    SIGTERM and SIGINT ask it to stop. Then the training continues to the next
    optimizer step, or to the end of the epoch if that step was its last, is saved and
    ends with `Interrupted`: from there it can be resumed bit by bit.
    """

    # What these have recorded about a step or an epoch is saved with it, and the time
    # of a save does not count as a step's.
    after = (Threads, ExponentialMovingAverage, History, Progress, Confusions)

    def __init__(
        self,
        folder: ResumeFolder,
        plan: Plan,
        record: Record,
        ema: ExponentialMovingAverage,
    ) -> None:
        """Saves one training.

        Args:
            folder: where its files go.
            plan: goes into the checkpoints; its recipe says when patience ends.
            record: what the other callbacks have recorded.
            ema: the averaged weights.
        """
        self.asked_to_stop = False
        self._folder, self._plan, self._record, self._ema = folder, plan, record, ema
        self._weights: dict[str, Checkpoint] = {}
        self._step = 0
        self._saved_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()
        self._step = trainer.global_step
        # Lightning has installed its own handlers, and restores the earlier ones.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._notice)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any
    ) -> None:
        stepped = trainer.global_step != self._step
        self._step = trainer.global_step
        # In the middle of an accumulation, its gradients would be lost, and after the
        # last batch Lightning would skip the validation.
        if not stepped or trainer.is_last_batch:
            return
        # Several processes must agree, which takes time.
        if trainer.world_size == 1 or trainer.global_step % _AGREE_EVERY == 0:
            self._save_when_due(trainer)

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        epochs, recipe = self._record.epochs, self._plan.recipe
        self._weights[epochs[-1].file] = self._snapshot(module, epochs[-1])
        wanted = {epoch.file for epoch in kept(epochs)}
        self._weights = {n: w for n, w in self._weights.items() if n in wanted}
        risen = last_rise(epochs, recipe.min_delta)
        if recipe.patience and len(epochs) - risen >= recipe.patience:
            trainer.should_stop = True
        finished = trainer.should_stop or len(epochs) == trainer.max_epochs
        if not finished:
            self._save_when_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._save(trainer, finished=True)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        # At the end of an epoch the metrics have been read and start again.
        metrics = {} if trainer.is_last_batch else _metrics(module)
        checkpoint["metrics"] = {
            name: metric.metric_state for name, metric in metrics.items()
        }

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        metrics = _metrics(module)
        for name, state in checkpoint["metrics"].items():
            for part, value in state.items():
                setattr(metrics[name], part, value)

    def _notice(self, number: int, _: object) -> None:
        self.asked_to_stop = True

    def _save_when_due(self, trainer: pl.Trainer) -> None:
        due = time.monotonic() - self._saved_at >= SAVE_EVERY_S
        stop, due = trainer.strategy.broadcast((self.asked_to_stop, due))
        if stop or due:
            self._save(trainer)
        if stop:
            raise Interrupted(
                "training was interrupted after "
                f"{count(trainer.global_step, 'step')}, in epoch "
                f"{trainer.current_epoch + 1}; the next run of the same recipe on the "
                "same data resumes there"
            )

    def _save(self, trainer: pl.Trainer, *, finished: bool = False) -> None:
        name = "" if finished else f"resume_{trainer.global_step:06}.ckpt"
        state = State(self._record, trainer.global_step, name, finished)
        files: dict[str, Callable[[Path], None]] = {
            epoch.file: partial(self._write_epoch, epoch)
            for epoch in kept(self._record.epochs)
        }
        if name:
            files[name] = trainer.save_checkpoint
        if trainer.is_global_zero:
            self._folder.save(state, files)
        elif name:
            # Lightning needs all processes in a save; the first one writes.
            trainer.save_checkpoint(self._folder.path / name)
        trainer.strategy.barrier()
        self._saved_at = time.monotonic()

    def _write_epoch(self, epoch: Epoch, path: Path) -> None:
        self._weights[epoch.file].save(path)

    def _snapshot(self, module: pl.LightningModule, epoch: Epoch) -> Checkpoint:
        """Returns the current weights, on the CPU."""
        data = self._plan.data
        return Checkpoint(
            recipe=self._plan.recipe,
            labels=data.labels,
            mean=data.mean,
            std=data.std,
            ema_step=self._ema.updates,
            valid_top1=epoch.valid_top1,
            valid_loss=epoch.valid_loss,
            state_dict=_copy(self._ema.average.model.state_dict()),  # type: ignore[union-attr]
            raw_state_dict=_copy(module.model.state_dict()),  # type: ignore[union-attr]
        )


def _metrics(module: pl.LightningModule) -> dict[str, Metric]:
    return {name: m for name, m in module.named_modules() if isinstance(m, Metric)}


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies weights to the CPU, in the plain memory format."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in state.items()
    }
