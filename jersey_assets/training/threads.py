"""How many threads the training steps use: as many as are fastest now, by measuring.

Threads wait for each other many times in a step. Alone on a machine two are faster than
one; beside other work each wait lasts until the slowest is let onto a core again, and
two threads have been seen to take four times as long as one. So the steps of the
training themselves are timed with each number, at the start, when their speed changes
and now and then; what is computed stays the same but for the order of sums, which
decides the last bits.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from jersey_assets.training.callbacks.progress import duration

ROUNDS, BLOCK = 3, 3
"""A comparison gives each number of threads so many blocks of so many steps in turn;
the first of a block, which still pays for the change, does not count."""
HOPELESS = 2.0
"""Times the best one's step that end the comparison for a number of threads."""
WINDOW, CHANGE = 16, 1.25
"""The speed has changed where the mean of so many steps is off by that factor."""
PRICE_OF_CHANGE, PRICE = 0.03, 0.01
"""Share of the time that comparisons may lose: where the speed changed, and else."""
REST_S = 60.0
"""Seconds of steps, at least, between comparisons where the speed did not change."""

log = logging.getLogger(__name__)

Times = dict[int, float]
"""Seconds of a step, by number of threads."""


def fastest(
    candidates: Sequence[int], decided: Callable[[Times], None]
) -> Generator[int, float, None]:
    """Gives the number of threads of each step, and is sent the seconds that it took.

    Args:
        candidates: the numbers to choose from.
        decided: called after each comparison with the times of those that stayed in
            it to its end; the least of them is used from then on.
    """
    while True:
        times, lost = yield from _compare(candidates)
        best = min(times, key=times.__getitem__)
        decided(times)
        yield from _keep(best, times[best], lost)


def _compare(
    candidates: Sequence[int],
) -> Generator[int, float, tuple[Times, float]]:
    """Times the candidates in turn; gives their times and what that cost, in s."""
    counted: dict[int, list[float]] = {count: [] for count in candidates}
    spent: list[float] = []
    for _ in range(ROUNDS):
        for count in list(counted):
            for step in range(BLOCK):
                spent.append((yield count))
                others = [t for other, t in counted.items() if t and other != count]
                if not step:
                    continue
                if others and spent[-1] > HOPELESS * min(map(fmean, others)):
                    del counted[count]
                    break
                counted[count].append(spent[-1])
    times = {count: fmean(seconds) for count, seconds in counted.items()}
    return times, sum(spent) - len(spent) * min(times.values())


def _keep(count: int, expected: float, lost: float) -> Generator[int, float, None]:
    """Stays with a number of threads until another comparison is worth its price."""
    window: deque[float] = deque(maxlen=WINDOW)
    passed = 0.0
    while True:
        seconds = yield count
        passed += seconds
        window.append(seconds)
        changed = len(window) == WINDOW and not (
            expected / CHANGE <= fmean(window) <= expected * CHANGE
        )
        if passed >= lost / (PRICE_OF_CHANGE if changed else PRICE) and (
            changed or passed >= REST_S
        ):
            return


class Threads(Callback):
    """Sets the number of threads of each step; comes first among the callbacks.

    What is decided goes into `facts` as `threads`, rows of `step` and `threads`. Once
    the first comparison has told the speed, the log says how long the training will
    take. Processes that train together compare together.
    """

    def __init__(
        self, facts: dict[str, Any], threads: int | None, batch_size: int
    ) -> None:
        """Starts, or goes on with the facts of an interrupted training.

        Args:
            facts: where the decisions are kept.
            threads: the number of threads, or None to choose by measuring, from 1 to
                as many as this process has.
            batch_size: crops in a batch, of all devices together.
        """
        self._before = torch.get_num_threads()
        self._candidates = [threads] if threads else _halves(self._before)
        self._decisions: list[dict[str, int]] = facts.setdefault("threads", [])
        self._batch_size = batch_size
        self._told = False
        self._mark = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.strategy.root_device.type != "cpu":
            # The steps run elsewhere: whatever the number, it is no other.
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
        """Notes a decision, and gives whether it differs from the last one."""
        new = not self._decisions or self._decisions[-1]["threads"] != threads
        if new:
            self._decisions.append({"step": trainer.global_step, "threads": threads})
        return new

    def _tell_plan(self, trainer: pl.Trainer, seconds: float) -> None:
        batches, epochs = int(trainer.num_training_batches), trainer.max_epochs
        assert epochs
        done = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        log.info(
            "this training shows %s crops, %s batches in %d epochs, and takes some %s "
            "more at the speed of its first batches (%.0f images/s)",
            f"{epochs * batches * self._batch_size:,}",
            f"{epochs * batches:,}",
            epochs,
            duration(seconds * (epochs * batches - done)),
            self._batch_size / seconds,
        )


def _halves(count: int) -> list[int]:
    """1, …, half of it, all of it."""
    return sorted({max(1, count >> shift) for shift in range(count.bit_length())})
