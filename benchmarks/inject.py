"""Runs the `dagster` command with one thing that goes wrong at a named moment.

    python -m benchmarks.inject MOMENT asset materialize …

The run is the real one, in one process; what is replaced is the last call before the
moment. `benchmarks.faults` starts this.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

# Where the second epoch stands when a signal meets the training.
IN_TRAINING = 1, 1
WAITING = "waiting in the second epoch"


def die() -> None:
    """Ends this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def _at_step(act: Callable[[], None]) -> None:
    from jersey_assets.training.callbacks import saving
    from jersey_assets.training.module import TrainingModule

    saving.SAVE_EVERY_S = 0.0
    step = TrainingModule.training_step

    def acting(module: TrainingModule, batch: Any, index: int) -> Any:
        if (module.current_epoch, index) == IN_TRAINING:
            act()
        return step(module, batch, index)

    TrainingModule.training_step = acting  # type: ignore[method-assign]


def _wait() -> None:
    print(WAITING, flush=True)
    time.sleep(5)  # a signal ends the sleep only when it is over


def _stand_still() -> None:
    print(WAITING, flush=True)
    time.sleep(3600)


def _half_a_checkpoint() -> None:
    import lightning.pytorch as pl

    from jersey_assets.training.callbacks import saving

    saving.SAVE_EVERY_S = 0.0
    save = pl.Trainer.save_checkpoint
    saves: list[Path] = []

    def half_saved(trainer: pl.Trainer, path: Path) -> None:
        save(trainer, path)
        saves.append(path)
        if len(saves) == 3:
            os.truncate(path, path.stat().st_size // 2)
            die()

    pl.Trainer.save_checkpoint = half_saved  # type: ignore[method-assign, assignment]


def _half_a_file(asset: str, name: str) -> Callable[[], None]:
    def arrange() -> None:
        from jersey_assets.storage import store

        describe = store.describe_folder

        def half_written(made: str, folder: Path, *rest: Any) -> Any:
            if made == asset:
                os.truncate(folder / name, (folder / name).stat().st_size // 2)
                die()
            return describe(made, folder, *rest)

        store.describe_folder = half_written  # type: ignore[attr-defined]

    return arrange


def _at_flip(when: str) -> Callable[[], None]:
    def arrange() -> None:
        replace = os.replace

        def flipping(source: Any, target: Any) -> None:
            release = str(target).endswith("released_model/current.json")
            if release and when == "before":
                die()
            replace(source, target)
            if release:
                die()

        os.replace = flipping  # type: ignore[assignment]

    return arrange


def _after_listing(act: Callable[[Path], None]) -> Callable[[], None]:
    """Acts on train's JSONL file when all files are listed and none is opened."""

    def arrange() -> None:
        from jersey_assets.annotations.lines import rows

        listed = rows.list_annotation_files

        def listing(root: Path) -> Any:
            found = listed(root)
            act(Path(root) / "train" / "annotations.jsonl")
            return found

        rows.list_annotation_files = listing  # type: ignore[attr-defined]

    return arrange


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def _swap_for_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(os.environ["FAULTS_SECRET"])


def _crop_removed() -> None:
    from jersey_assets.training.data import crops

    load = crops.load_crops

    def loading(root: Path, rows: Any, *rest: Any) -> Any:
        (Path(root) / rows["image"].iloc[0]).unlink(missing_ok=True)
        return load(root, rows, *rest)

    crops.load_crops = loading


def _clock_set_back() -> None:
    from jersey_assets.storage import manifest

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(days=1)

    manifest.datetime = Yesterday  # type: ignore[misc]
    now = time.time
    time.time = lambda: now() - 24 * 3600


MOMENTS: dict[str, Callable[[], None]] = {
    "kill in training": lambda: _at_step(die),
    "wait in training": lambda: _at_step(_wait),
    "stand still in training": lambda: _at_step(_stand_still),
    "kill in checkpoint write": _half_a_checkpoint,
    "kill in checkpoint publishing": _half_a_file("trained_checkpoint", "model.ckpt"),
    "kill in ONNX write": _half_a_file("onnx_model", "model.onnx"),
    "kill before release flip": _at_flip("before"),
    "kill after release flip": _at_flip("after"),
    "file deleted": _after_listing(_remove),
    "link swapped": _after_listing(_swap_for_link),
    "crop removed": _crop_removed,
    "clock set back": _clock_set_back,
}


def main() -> None:
    """Arranges the fault and hands over to Dagster."""
    from dagster._cli import main as dagster

    moment = sys.argv.pop(1)
    MOMENTS[moment]()
    sys.argv[0] = "dagster"
    dagster()


if __name__ == "__main__":
    main()
