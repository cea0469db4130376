"""Trains by a plan, new or resumed, and returns the best epoch's averaged weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from jersey_assets.training.distributed import train_together
from jersey_assets.training.epochs import Epoch
from jersey_assets.training.plan import Plan
from jersey_assets.training.result import Training, read_result
from jersey_assets.training.resume import resume_folder
from jersey_assets.training.trainer import Job

Report: TypeAlias = Callable[[Epoch, int], None]
"""Called after each epoch with its figures and the number of epochs."""

log = logging.getLogger(__name__)


def fit(
    plan: Plan, report: Report, scratch: Path | None = None, logs: Path = Path("logs")
) -> Training:
    """Trains by the plan and keeps the best epoch's averaged weights.

    Best means the highest valid top-1, and among equal ones the lowest valid loss.

    Args:
        plan: the recipe, the data, and the weights to start from.
        report: called after each epoch.
        scratch: where trainings are saved and looked up. An interrupted one resumes
            if plan and code are the same; on a CPU, if the recipe sets `threads`,
            it gives the same bits as one that was never interrupted. Without it
            nothing is kept.
        logs: where the files of the recipe's logger go.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the training is saved.
        TrainingError: the weights are of another network or leave frozen layers at
            random, the loss is not finite, or training ended before an epoch was
            validated.
    """
    with TemporaryDirectory(prefix="jersey-fit-") as temporary:
        folder = resume_folder(scratch or Path(temporary), plan)
        state = folder.load()
        job = Job(folder, state, logs)
        if state.finished:
            log.info(
                "this training has already finished; its result is in %s", folder.path
            )
        else:
            if state.resume:
                log.info(
                    "resuming at epoch %d, step %d, from %s",
                    len(state.record.epochs) + 1,
                    state.step,
                    folder.path,
                )
            _run(job, plan, report, Path(temporary) / "plan")
        return read_result(plan, folder, logs)


def _run(job: Job, plan: Plan, report: Report, stored: Path) -> None:
    """Runs a training here or, on several devices, in one process per device."""

    def report_epoch(epoch: Epoch) -> None:
        report(epoch, plan.epochs)

    if plan.recipe.devices == 1:
        job.run(plan, report_epoch)
    else:
        plan.store(stored)
        train_together(
            plan.recipe.devices, partial(job.run_stored, stored), report_epoch
        )
