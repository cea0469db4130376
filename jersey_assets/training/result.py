"""The result of a training: the best epochs' weights, `training.json`, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from jersey_assets.training.augment.augmentation import augmented_samples
from jersey_assets.training.callbacks.freeze import count_trainable
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets.training.data.sampling import EpochOrder
from jersey_assets.training.epochs import Epoch, kept, last_quarter
from jersey_assets.training.errors import TrainingError
from jersey_assets.training.network.summary import describe_model
from jersey_assets.training.plan import Plan
from jersey_assets.training.record import Record
from jersey_assets.training.resume import ResumeFolder


@dataclass(frozen=True)
class Training:
    """The result of a finished training.

    Attributes:
        checkpoint: the best epoch's weights.
        others: weights of the next best epochs and of the last one, by file name.
        history: a row per epoch, the fields of `Epoch`.
        augmented: crops beside augmented ones, as `augmented_samples` returns them.
        confusions: confusion matrices of valid, by epoch: the best one's, and those
            of `confusion_every`.
        summary: the content of `training.json`.
    """

    checkpoint: Checkpoint
    others: Mapping[str, Checkpoint]
    history: pd.DataFrame
    augmented: Tensor
    confusions: Mapping[int, np.ndarray[Any, np.dtype[np.int64]]]
    summary: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Writes `model.ckpt`, the others, `training.json`, history and pictures."""
        self.checkpoint.save(folder / "model.ckpt")
        for name, checkpoint in self.others.items():
            checkpoint.save(folder / name)
        (folder / "training.json").write_text(json.dumps(self.summary, indent=1))
        self.history.to_csv(folder / "history.csv", index=False)
        self._draw(folder)

    def _draw(self, folder: Path) -> None:
        from jersey_assets.plots.accuracy import confusion_matrix
        from jersey_assets.plots.curves import training_curves
        from jersey_assets.plots.grids import augmented_crops
        from jersey_assets.plots.png import draw_png

        draw_png(folder / "curves.png", training_curves, self.history)
        crops = self.augmented.permute(0, 1, 3, 4, 2).numpy()
        draw_png(folder / "augmented.png", augmented_crops, crops)
        best = self.summary["best_epoch"]
        for epoch, counts in self.confusions.items():
            name = "confusion" if epoch == best else f"confusion_epoch_{epoch:03}"
            draw_png(
                folder / f"{name}.png",
                confusion_matrix,
                self.checkpoint.labels,
                counts,
                f"valid, epoch {epoch}",
            )


def read_result(plan: Plan, folder: ResumeFolder, logs: Path) -> Training:
    """Reads the result of a training out of the folder that it was saved in.

    Args:
        plan: the training's.
        folder: where it was saved.
        logs: where the files of the recipe's logger went.

    Raises:
        TrainingError: it has not finished, or no epoch was validated.
    """
    state = folder.load()
    record = state.record
    if not (state.finished and record.epochs):
        raise TrainingError(
            "training ended before its first epoch was validated; run it again "
            f"(its files are in {folder.path})"
        )
    best, *others = kept(record.epochs)
    checkpoint = load_checkpoint(folder.path / best.file)
    network = checkpoint.build_model()
    summary = {
        **_describe_scores(record.epochs, len(plan.data.valid)),
        **_describe_speed(record, plan),
        "ema_step": checkpoint.ema_step,
        **_describe_network(network, plan, len(record.epochs)),
        **_describe_machine(record),
        "draws": _count_draws(plan, len(record.epochs)),
        "kept": _describe_files(record.epochs),
        "recipe": plan.recipe.model_dump(mode="json"),
        **_describe_start(network, plan),
    }
    if plan.recipe.logger != "csv":
        summary["logs"] = str(logs.absolute() / plan.recipe.logger)
    return Training(
        checkpoint,
        {epoch.file: load_checkpoint(folder.path / epoch.file) for epoch in others},
        pd.DataFrame([asdict(epoch) for epoch in record.epochs]),
        augmented_samples(
            plan.data.train.images, plan.recipe.augmentation, plan.recipe.seed
        ),
        {epoch: np.array(counts) for epoch, counts in record.confusions.items()},
        summary,
    )


def _describe_scores(epochs: list[Epoch], valid_images: int) -> dict[str, Any]:
    best = kept(epochs)[0]
    return {
        "valid_top1": best.valid_top1,
        "valid_top5": best.valid_top5,
        "last_quarter": last_quarter(epochs),
        "valid_loss": best.valid_loss,
        "valid_images": valid_images,
        "best_epoch": best.epoch,
        "epochs": len(epochs),
    }


def _describe_speed(record: Record, plan: Plan) -> dict[str, float]:
    seconds = record.epochs[-1].seconds
    shown = len(record.epochs) * plan.batches * plan.batch_size
    steps = record.train_images / record.train_seconds
    return {
        "seconds": round(seconds, 1),
        "images_per_second": round(shown / seconds, 1),
        "train_images_per_second": round(steps, 1),
    }


def _describe_network(network: nn.Module, plan: Plan, epochs: int) -> dict[str, Any]:
    frozen = plan.recipe.freeze_epochs >= epochs
    return {
        **describe_model(network, plan.data.image_size),
        "trainable": count_trainable(network, frozen=frozen),
    }


def _describe_machine(record: Record) -> dict[str, Any]:
    described = {
        "device": record.device,
        "precision": record.precision,
        "threads": [asdict(choice) for choice in record.threads],
        "peak_memory_mb": record.peak_memory_mb,
    }
    if record.peak_gpu_memory_mb:
        described["peak_gpu_memory_mb"] = record.peak_gpu_memory_mb
    return described


def _count_draws(plan: Plan, epochs: int) -> dict[str, int]:
    """Counts how often the training showed crops of each label."""
    data, recipe = plan.data, plan.recipe
    order = EpochOrder(data.train.targets, recipe.sampler, recipe.seed)
    shown = plan.batches * plan.batch_size
    draws = order.count_draws(epochs, shown, len(data.labels))
    return dict(zip(data.labels, draws, strict=True))


def _describe_files(epochs: list[Epoch]) -> list[dict[str, Any]]:
    best = kept(epochs)[0]
    return [
        {
            "file": "model.ckpt" if epoch is best else epoch.file,
            "epoch": epoch.epoch,
            "valid_top1": epoch.valid_top1,
            "valid_loss": epoch.valid_loss,
        }
        for epoch in kept(epochs)
    ]


def _describe_start(network: nn.Module, plan: Plan) -> dict[str, Any]:
    if not plan.weights:
        return {}
    match = plan.weights.match(network, plan.data.labels)
    return {"weights": {"sha256": plan.weights.digest(), **asdict(match)}}
