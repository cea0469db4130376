"""Experiment trackers: TensorBoard, MLflow and Weights & Biases (`logger`).

`history.csv` is always written. The trackers are extras of this package, write below a
local folder, and reach a server only if the environment names one, as their own
documentation says (`MLFLOW_TRACKING_URI`; `WANDB_MODE=online`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import (
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from jersey_assets.training.errors import TrainingError
from jersey_assets.training.recipe import Recipe

_PROJECT = "jersey-assets"


@contextmanager
def experiment_logger(
    recipe: Recipe, folder: Path, run: str
) -> Iterator[Logger | None]:
    """Yields the recipe's logger, or None for `csv`, and closes it.

    Args:
        recipe: names the logger, and is logged.
        folder: where its files go; each logger has its own folder in there.
        run: name of the training. An interrupted one continues under its name.

    Raises:
        TrainingError: the logger's package is not installed.
    """
    if recipe.logger == "csv":
        yield None
        return
    if find_spec(recipe.logger) is None:
        raise TrainingError(
            f"logger: {recipe.logger} needs a package that is not installed; "
            f"pip install 'jersey-assets[{recipe.logger}]', or set logger: csv"
        )
    place = folder.absolute() / recipe.logger
    place.mkdir(parents=True, exist_ok=True)
    logger = _LOGGERS[recipe.logger](place, run)
    logger.log_hyperparams(recipe.model_dump(mode="json"))
    try:
        yield logger
    finally:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _tensorboard(folder: Path, run: str) -> Logger:
    return TensorBoardLogger(folder, name="", version=run, default_hp_metric=False)


def _mlflow(folder: Path, run: str) -> Logger:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    local = f"sqlite:///{folder / 'mlflow.db'}"
    address = os.environ.get("MLFLOW_TRACKING_URI") or local
    return MLFlowLogger(_PROJECT, run_name=run, tracking_uri=address)


def _wandb(folder: Path, run: str) -> Logger:
    import wandb

    return WandbLogger(
        run,
        save_dir=folder,
        id=run,
        resume="allow",
        project=_PROJECT,
        offline=os.environ.get("WANDB_MODE", "offline") != "online",
        # Dagster captures what a run prints.
        settings=wandb.Settings(console="off"),
    )


_LOGGERS: dict[str, Callable[[Path, str], Logger]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
