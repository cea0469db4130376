"""A training that kills itself, without warning, while it saves its work.

Run as `python -m jersey_assets_tests.training.killed SCRATCH MOMENT`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from jersey_assets.training import resume
from jersey_assets.training.callbacks import saving
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.data.training_data import TrainingData
from jersey_assets.training.fit import Report, fit
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.result import Training

SIZE, BATCH, EPOCHS = 32, 8, 3
MOMENTS = ("half a checkpoint", "before the state is replaced", "before the clean-up")


def made_up_crops(count: int, seed: int) -> Crops:
    generator = torch.Generator().manual_seed(seed)
    return Crops(
        torch.randint(
            256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator
        ),
        torch.randint(4, (count,), generator=generator),
        tuple(map(str, range(count))),
    )


def tiny_fit(
    scratch: Path | None,
    report: Report = lambda epoch, epochs: None,
    **knobs: Any,
) -> Training:
    """A training of three epochs of three steps."""
    recipe = Recipe.model_validate(
        {"image_size": SIZE, "batch_size": BATCH, "epochs": EPOCHS, "threads": 1}
        | knobs
    )
    train, valid = made_up_crops(3 * BATCH, 0), made_up_crops(BATCH, 1)
    data = TrainingData(tuple("abcd"), train, valid, (0.5,) * 3, (0.25,) * 3)
    return fit(Plan(recipe, data), report, scratch)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(scratch: Path, moment: str) -> None:
    saving.SAVE_EVERY_S = 0.0
    saves: list[Path] = []
    save, replace_file, unlink = (
        pl.Trainer.save_checkpoint,
        resume.replace_file,
        Path.unlink,
    )

    def half_saved(trainer: pl.Trainer, path: Path) -> None:
        save(trainer, path)
        saves.append(path)
        if moment == MOMENTS[0] and len(saves) == 5:
            os.truncate(path, path.stat().st_size // 2)
            die()

    def not_replaced(path: Path, content: bytes) -> None:
        if moment == MOMENTS[1] and len(saves) == 5:
            die()
        replace_file(path, content)

    def not_removed(path: Path) -> None:
        if moment == MOMENTS[2] and len(saves) == 5:
            die()
        unlink(path)

    pl.Trainer.save_checkpoint = half_saved  # type: ignore[method-assign, assignment]
    resume.replace_file = not_replaced
    Path.unlink = not_removed  # type: ignore[method-assign, assignment]
    tiny_fit(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
