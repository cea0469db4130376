"""Training: crops in, the checkpoint of the best epoch's averaged weights out."""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from jersey_assets.training.augment import augment
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.crops import Crops, normalize, three_channels
from jersey_assets.training.ema import ExponentialMovingAverage
from jersey_assets.training.model import build_model, count_flops, count_parameters
from jersey_assets.training.recipe import Recipe

EVALUATION_BATCH = 256
_MODEL_PREFIX = "model."

log = logging.getLogger(__name__)


class TrainingError(RuntimeError):
    """Training that cannot start or has no usable result; the message says why."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch, counted from 1, gave; `valid_*` are of the averaged weights.

    Losses are mean cross-entropies (training: smoothed, on augmented crops), top-k
    shares in 0..1, `seconds` since the start of training.
    """

    epoch: int
    train_loss: float
    train_top1: float
    valid_loss: float
    valid_top1: float
    valid_top5: float
    learning_rate: float
    seconds: float

    def line(self, epochs: int) -> str:
        """The epoch as one line for a person, with the time that is left."""
        left = self.seconds / self.epoch * (epochs - self.epoch)
        return (
            f"epoch {self.epoch:>3}/{epochs}  train loss {self.train_loss:.3f}  "
            f"valid loss {self.valid_loss:.3f}  valid top-1 {self.valid_top1:6.1%}  "
            f"{self.seconds:4.0f} s, {left:.0f} s left"
        )


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
    loaders = _loaders(recipe, train, valid)
    pl.seed_everything(recipe.seed, verbose=False)
    mean, std = three_channels(statistics["mean"]), three_channels(statistics["std"])
    module = _Module(recipe, len(labels), mean, std, len(loaders[0]))
    history = _History(report, recipe.epochs)
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
    module: _Module,
    history: _History,
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


class _Module(pl.LightningModule):
    """The training and validation step."""

    def __init__(
        self,
        recipe: Recipe,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.num_classes = num_classes
        self.normalization = mean, std
        self.steps = recipe.epochs * steps_per_epoch
        network = build_model(recipe, num_classes)
        self.model = network.to(memory_format=torch.channels_last)
        top5 = min(5, num_classes)
        self.train_loss, self.valid_loss = MeanMetric(), MeanMetric()
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.valid_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.valid_top5 = MulticlassAccuracy(num_classes, top_k=top5, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, targets = batch
        # Seeded by the step, so that a crop's look doesn't depend on what ran before.
        generator = torch.Generator(images.device)
        generator.manual_seed(self.recipe.seed * 1_000_003 + self.global_step)
        images = augment(images, self.recipe.augmentation, generator)
        logits = self._logits(images)
        loss = F.cross_entropy(
            logits, targets, label_smoothing=self.recipe.label_smoothing
        )
        if not torch.isfinite(loss):
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.global_step} "
                f"(epoch {self.current_epoch}, learning rate {rate:.2e}); "
                "try a lower learning_rate or precision 32-true"
            )
        self.train_loss.update(loss.detach())
        self.train_top1.update(logits.detach(), targets)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, targets = batch
        logits = self._logits(images).float()
        self.valid_loss.update(F.cross_entropy(logits, targets), weight=len(targets))
        self.valid_top1.update(logits, targets)
        self.valid_top5.update(logits, targets)
        self.log_dict(
            {
                "valid_loss": self.valid_loss,
                "valid_top1": self.valid_top1,
                "valid_top5": self.valid_top5,
            },
            on_step=False,
            on_epoch=True,
        )

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.train_loss)
        self.log("train_top1", self.train_top1)

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        rest = [p for p in self.model.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.recipe.weight_decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=self.recipe.learning_rate,
            # In mixed precision Lightning cannot clip a fused optimizer's gradients.
            fused=self.recipe.precision == "32-true",
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def _learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero, as a share of the top."""
        warmup = max(1, round(self.recipe.warmup * self.steps))
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def _logits(self, images: Tensor) -> Tensor:
        inputs = normalize(images, *self.normalization)
        logits: Tensor = self.model(
            inputs.contiguous(memory_format=torch.channels_last)
        )
        return logits


class _History(Callback):
    """Collects an `Epoch` after each validation and passes it on."""

    def __init__(self, report: Callable[[Epoch, int], None], epochs: int) -> None:
        self.epochs: list[Epoch] = []
        self.device = ""
        self._report = report
        self._total = epochs
        self._start = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._start = time.monotonic()
        self.device = str(trainer.strategy.root_device)

    def on_train_epoch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = Epoch(
            epoch=trainer.current_epoch + 1,
            train_loss=float(module.train_loss.compute()),  # type: ignore[operator, union-attr]
            train_top1=float(module.train_top1.compute()),  # type: ignore[operator, union-attr]
            valid_loss=seen["valid_loss"],
            valid_top1=seen["valid_top1"],
            valid_top5=seen["valid_top5"],
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
            seconds=time.monotonic() - self._start,
        )
        self.epochs.append(epoch)
        self._report(epoch, self._total)


class _CropBatches(Dataset[tuple[Tensor, Tensor]]):
    """Takes whole batches out of the tensors, without a Python loop per crop."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.crops.images[indices], self.crops.targets[indices]


class _Batches(Sampler[Tensor]):
    """Indices of each batch; shuffled by seed and epoch where a seed is given."""

    def __init__(self, count: int, batch_size: int, seed: int | None = None) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        # A last, smaller batch would give its crops' BatchNorm too much weight.
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (self.seed is None and rest > 0)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.count)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(
                self.seed * 1_000_003 + self.epoch
            )
            order = torch.randperm(self.count, generator=generator)
        yield from torch.split(order, self.batch_size)[: len(self)]


def _loaders(
    recipe: Recipe, train: Crops, valid: Crops
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    if len(train) < 2:
        raise TrainingError(f"the train split has {len(train)} crops: nothing to learn")
    # A dataset smaller than a batch is one batch.
    size = min(recipe.batch_size, len(train))
    loaders = []
    for crops, batches in (
        (train, _Batches(len(train), size, recipe.seed)),
        (valid, _Batches(len(valid), EVALUATION_BATCH)),
    ):
        data = _CropBatches(crops)
        loaders.append(DataLoader(data, sampler=batches, batch_size=None))
    return loaders[0], loaders[1]


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
