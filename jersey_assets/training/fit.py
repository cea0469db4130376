"""Training: crops in, the checkpoint of the best epoch's averaged weights out."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from jersey_assets.training.batches import make_loaders
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.crops import Crops, three_channels
from jersey_assets.training.ema import ExponentialMovingAverage
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.history import Epoch, History
from jersey_assets.training.model import count_flops, count_parameters
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.recipe import Recipe

_MODEL_PREFIX = "model."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """The result of `fit`.

    Attributes:
        checkpoint: the best epoch's weights.
        history: a row per epoch, the fields of `Epoch`.
        summary: the content of `training.json`.
    """

    checkpoint: Checkpoint
    history: pd.DataFrame
    summary: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Writes `model.ckpt`, `training.json`, `history.csv` and the curves."""
        from jersey_assets.plots.figures import training_curves
        from jersey_assets.plots.png import save_png

        self.checkpoint.save(folder / "model.ckpt")
        (folder / "training.json").write_text(json.dumps(self.summary, indent=1))
        self.history.to_csv(folder / "history.csv", index=False)
        save_png(training_curves(self.history), folder / "curves.png")


def fit(
    recipe: Recipe,
    labels: Sequence[str],
    train: Crops,
    valid: Crops,
    statistics: Mapping[str, Sequence[float]],
    report: Callable[[Epoch, int], None],
) -> Training:
    """Trains by the recipe and keeps the epoch with the best valid top-1.

    Args:
        recipe: all knobs.
        labels: the labels in class order.
        train: crops to learn from.
        valid: crops to choose the epoch by.
        statistics: `mean` and `std` of the channels, on the 0..1 scale.
        report: called after each epoch with its figures and the number of epochs.

    Raises:
        TrainingError: no batch can be made, the loss is not finite, or training
            ended before its first epoch was validated.
    """
    loaders = make_loaders(recipe, train, valid)
    pl.seed_everything(recipe.seed, verbose=False)
    mean, std = three_channels(statistics["mean"]), three_channels(statistics["std"])
    module = TrainingModule(recipe, len(labels), mean, std, len(loaders[0]))
    history = History(report, recipe.epochs)
    with TemporaryDirectory(prefix="jersey-fit-") as folder:
        best = _run(recipe, module, history, loaders, Path(folder))
    scores = history.epochs[best["epoch"]]
    checkpoint = Checkpoint(
        recipe=recipe,
        labels=tuple(labels),
        mean=mean,
        std=std,
        ema_step=int(best["averaging_state"]["n_averaged"]) - 1,
        valid_top1=scores.valid_top1,
        valid_loss=scores.valid_loss,
        state_dict=_network_weights(best["state_dict"]),
        raw_state_dict=_network_weights(best["current_model_state"]),
    )
    network = checkpoint.build_model()
    seconds = history.epochs[-1].seconds
    batch_size = min(recipe.batch_size, len(train))
    trained = len(history.epochs) * len(loaders[0]) * batch_size
    summary = {
        "valid_top1": scores.valid_top1,
        "valid_top5": scores.valid_top5,
        "valid_loss": scores.valid_loss,
        "valid_images": len(valid),
        "best_epoch": scores.epoch,
        "epochs": len(history.epochs),
        "seconds": round(seconds, 1),
        "images_per_second": round(trained / seconds, 1),
        "ema_step": checkpoint.ema_step,
        "parameters": count_parameters(network),
        "flops": count_flops(network, recipe.image_size),
        "device": history.device,
        "recipe": recipe.model_dump(mode="json"),
    }
    frame = pd.DataFrame([asdict(epoch) for epoch in history.epochs])
    return Training(checkpoint, frame, summary)


def _run(
    recipe: Recipe,
    module: TrainingModule,
    history: History,
    loaders: tuple[DataLoader[Any], DataLoader[Any]],
    folder: Path,
) -> dict[str, Any]:
    """Runs Lightning and returns the best epoch's checkpoint dictionary."""
    keep_best = ModelCheckpoint(folder, monitor="valid_top1", mode="max")
    callbacks: list[Callback] = [
        ExponentialMovingAverage(recipe.ema_decay),
        history,
        keep_best,
    ]
    if recipe.patience:
        callbacks.append(
            EarlyStopping("valid_top1", mode="max", patience=recipe.patience)
        )
    with _quiet_lightning():
        trainer = pl.Trainer(
            max_epochs=recipe.epochs,
            precision=recipe.precision,
            gradient_clip_val=recipe.gradient_clip or None,
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            devices=1,
            default_root_dir=folder,
        )
        log.info(
            "training %s on %s: %d crops, %d classes, %d steps per epoch",
            recipe.model,
            trainer.strategy.root_device,
            len(loaders[0].dataset),  # type: ignore[arg-type]
            module.num_classes,
            len(loaders[0]),
        )
        trainer.fit(module, *loaders)
    if not keep_best.best_model_path:
        raise TrainingError("training ended before its first epoch was validated")
    best: dict[str, Any] = torch.load(
        keep_best.best_model_path, map_location="cpu", weights_only=True
    )
    return best


def _network_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes the network's weights out of the Lightning module's, under its names."""
    return {
        name.removeprefix(_MODEL_PREFIX): value.contiguous()
        for name, value in state.items()
        if name.startswith(_MODEL_PREFIX)
    }


class _quiet_lightning(warnings.catch_warnings):
    """Keeps Lightning's advice for interactive users out of the log."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
