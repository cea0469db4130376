"""Training: crops in, the checkpoint of the best epoch's averaged weights out."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from torch import Tensor

from jersey_assets.training.augment.augmentation import augmented_samples
from jersey_assets.training.callbacks.confusions import Confusions
from jersey_assets.training.callbacks.ema import ExponentialMovingAverage
from jersey_assets.training.callbacks.finite import FiniteLoss
from jersey_assets.training.callbacks.freeze import FreezeBackbone, count_trainable
from jersey_assets.training.callbacks.history import Epoch, History, last_quarter
from jersey_assets.training.callbacks.progress import Progress
from jersey_assets.training.callbacks.saving import Keeper, epoch_file, kept
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets.training.data.batches import make_loaders, rows_per_batch
from jersey_assets.training.data.crops import Crops, three_channels
from jersey_assets.training.data.sampling import EpochOrder
from jersey_assets.training.distributed import train_together
from jersey_assets.training.errors import Interrupted, TrainingError
from jersey_assets.training.loggers import experiment_logger
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.network.architectures import classification_head
from jersey_assets.training.network.batchnorm import SyncedBatchNorm
from jersey_assets.training.network.loss import class_weights
from jersey_assets.training.network.pretrained import Pretrained
from jersey_assets.training.network.summary import describe_model
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.resume import State, Work, open_work
from jersey_assets.training.threads import Threads

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """The result of `fit`.

    Attributes:
        checkpoint: the best epoch's weights.
        others: those of the epochs ranked next and of the last one, by file name.
        history: a row per epoch, the fields of `Epoch`.
        augmented: crops beside draws of them, as `augmented_samples` gives them.
        confusions: confusion matrices of valid, by epoch: the best one's, and those
            that `confusion_every` asks for.
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
        from jersey_assets.plots import figures
        from jersey_assets.plots.png import draw_png

        self.checkpoint.save(folder / "model.ckpt")
        for name, checkpoint in self.others.items():
            checkpoint.save(folder / name)
        (folder / "training.json").write_text(json.dumps(self.summary, indent=1))
        self.history.to_csv(folder / "history.csv", index=False)
        draw_png(folder / "curves.png", figures.training_curves, self.history)
        crops = self.augmented.permute(0, 1, 3, 4, 2).numpy()
        draw_png(folder / "augmented.png", figures.augmented_crops, crops)
        best = self.summary["best_epoch"]
        for epoch, counts in self.confusions.items():
            name = "confusion" if epoch == best else f"confusion_epoch_{epoch:03}"
            draw_png(
                folder / f"{name}.png",
                figures.confusion_matrix,
                self.checkpoint.labels,
                counts,
                f"valid, epoch {epoch}",
            )


def fit(
    recipe: Recipe,
    labels: Sequence[str],
    train: Crops,
    valid: Crops,
    statistics: Mapping[str, Sequence[float]],
    report: Callable[[Epoch, int], None],
    scratch: Path | None = None,
    weights: Pretrained | None = None,
    logs: Path = Path("logs"),
) -> Training:
    """Trains by the recipe and keeps the best epoch's averaged weights.

    Best is the highest valid top-1, and among equal ones the lowest valid loss.

    Args:
        recipe: all knobs.
        labels: the labels in class order.
        train: crops to learn from.
        valid: crops to choose the epoch by.
        statistics: `mean` and `std` of the channels, on the 0..1 scale.
        report: called after each epoch with its figures and the number of epochs.
        scratch: where interrupted work is kept and looked for. A training with the
            same recipe, crops and code goes on from there, on a CPU, where the recipe
            names `threads`, with the very bits of one that was never interrupted.
            Without it nothing is kept.
        weights: what the network starts from; without them it starts at random.
        logs: where the files of the recipe's logger go.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the work is saved.
        TrainingError: no batch can be made, the weights are of another network or
            leave frozen layers at random, the loss is not finite, or training ended
            before an epoch was validated.
        ValueError: the recipe names weights and none are given, or the reverse.
    """
    if (recipe.weights != "none") != (weights is not None):
        raise ValueError(f"weights: {recipe.weights}, and these were not given")
    batches = len(make_loaders(recipe, train, valid)[0])
    recipe = recipe.complete(train.images.shape[-1], batches)

    def report_epoch(epoch: Epoch) -> None:
        assert recipe.epochs
        report(epoch, recipe.epochs)

    with TemporaryDirectory(prefix="jersey-fit-") as temporary:
        work = open_work(
            scratch or Path(temporary),
            recipe,
            labels,
            train,
            valid,
            statistics,
            weights,
        )
        state = work.load()
        if state.resume:
            log.info(
                "resuming at epoch %d, step %d, from %s",
                len(state.epochs) + 1,
                state.step,
                work.folder,
            )
        job = _Job(work, state, recipe, tuple(labels), statistics, weights, logs)
        if state.finished:
            log.info(
                "the training was finished before; its result is in %s", work.folder
            )
        elif recipe.devices == 1:
            job.run(train, valid, report_epoch)
        else:
            stored = Path(temporary) / "crops"
            for name, crops in (("train", train), ("valid", valid)):
                torch.save(vars(crops), stored.with_suffix(f".{name}"))
            train_together(
                recipe.devices,
                partial(job.run_stored, stored),
                report_epoch,
            )
        training = _result(work, recipe, train, valid, weights)
        if recipe.logger != "csv":
            training.summary["logs"] = str(logs.absolute() / recipe.logger)
        return training


@dataclass(frozen=True)
class _Job:
    """A training from where its work stands, for the process that runs it."""

    work: Work
    state: State
    recipe: Recipe
    labels: tuple[str, ...]
    statistics: Mapping[str, Sequence[float]]
    weights: Pretrained | None
    logs: Path

    def run_stored(self, stored: Path, report: Callable[[Epoch], None]) -> None:
        """Runs it on crops that another process has stored."""
        train, valid = (
            Crops(
                **torch.load(
                    stored.with_suffix(f".{name}"), mmap=True, weights_only=True
                )
            )
            for name in ("train", "valid")
        )
        self.run(train, valid, report)

    def run(self, train: Crops, valid: Crops, report: Callable[[Epoch], None]) -> None:
        """Runs Lightning until the training is finished."""
        recipe, state = self.recipe, self.state
        assert recipe.epochs
        loaders = make_loaders(recipe, train, valid)
        batch_size = rows_per_batch(recipe, train)
        pl.seed_everything(recipe.seed, verbose=False)
        mean = three_channels(self.statistics["mean"])
        std = three_channels(self.statistics["std"])
        module = TrainingModule(
            recipe,
            self.labels,
            mean,
            std,
            recipe.epochs * math.ceil(len(loaders[0]) / recipe.accumulate),
            class_weights(train.targets, len(self.labels), recipe.class_weights),
        )
        if self.weights:
            match = self.weights.put_into(module.model, self.labels)
            log.info(
                "starting from %s: %d tensors taken; at random: %s",
                self.weights.name,
                len(match.taken),
                ", ".join(match.left) or "none",
            )
            head, _ = classification_head(module.model)
            random = [name for name in match.left if not name.startswith(head)]
            if recipe.freeze_epochs and random:
                raise TrainingError(
                    f"freeze_epochs: {recipe.freeze_epochs} would hold layers that "
                    f"{self.weights.name} has no weights for: {', '.join(random)}; "
                    "set freeze_epochs: 0, or, for torchvision's, stem: imagenet"
                )
        history = History(report, state.epochs, state.seconds, state.facts)
        ema = ExponentialMovingAverage(recipe.ema_decay)
        checkpoint = partial(Checkpoint, recipe, self.labels, mean, std)
        keeper = Keeper(
            self.work, history, ema, checkpoint, recipe.patience, recipe.min_delta
        )
        together = recipe.devices > 1
        run = self.work.folder.name
        with (
            _quiet_lightning(),
            experiment_logger(recipe, self.logs, run) as logger,
        ):
            trainer = pl.Trainer(
                max_epochs=recipe.epochs,
                precision=_precision(recipe),
                accumulate_grad_batches=recipe.accumulate,
                callbacks=[
                    Threads(history.facts, recipe.threads, batch_size),
                    FiniteLoss(),
                    FreezeBackbone(recipe.freeze_epochs),
                    ema,
                    history,
                    Progress(history.facts, batch_size),
                    Confusions(history, recipe.confusion_every),
                    keeper,
                    *([LearningRateMonitor("epoch")] if logger else []),
                ],
                logger=logger or False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                devices=recipe.devices,
                strategy=_strategy(recipe),
                plugins=[SyncedBatchNorm()] if together else None,
                default_root_dir=self.work.folder,
            )
            log.info(
                "training %s at %d px on %s in %s: %d crops, %d classes, %d batches of "
                "%d in an epoch",
                recipe.model,
                recipe.image_size,
                trainer.strategy.root_device,
                trainer.precision,
                len(train),
                module.num_classes,
                len(loaders[0]),
                batch_size,
            )
            resume = self.work.folder / state.resume if state.resume else None
            trainer.fit(module, *loaders, ckpt_path=resume, weights_only=True)
        if keeper.asked_to_stop:
            raise Interrupted("training was interrupted; the next run has its result")


def _precision(recipe: Recipe) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """The recipe's arithmetic, `auto` decided by the processor that will train."""
    if recipe.precision == "16-mixed" and not torch.cuda.is_available():
        raise TrainingError(
            "precision: 16-mixed needs a GPU, and PyTorch sees none here; set auto or "
            "bf16-mixed"
        )
    if recipe.precision != "auto":
        return recipe.precision
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        native = able.get("avx512_bf16", False) or able.get("amx_bf16", False)
    return "bf16-mixed" if native else "32-true"


def _strategy(recipe: Recipe) -> str:
    if recipe.devices == 1:
        return "auto"
    # Frozen layers give no gradients to wait for.
    return "ddp_find_unused_parameters_true" if recipe.freeze_epochs else "ddp"


def _result(
    work: Work,
    recipe: Recipe,
    train: Crops,
    valid: Crops,
    weights: Pretrained | None,
) -> Training:
    """Reads the result of a finished training."""
    state = work.load()
    if not (state.finished and state.epochs):
        raise TrainingError(
            f"training ended before its first epoch was validated; {work.folder} holds "
            "what there is: run it again"
        )
    best, *others = kept(state.epochs)
    checkpoint = load_checkpoint(work.folder / epoch_file(best))
    network = checkpoint.build_model()
    facts = state.facts
    batch_size = rows_per_batch(recipe, train)
    shown = len(train) // batch_size * batch_size
    trained = len(state.epochs) * shown
    order = EpochOrder(train.targets, recipe.sampler, recipe.seed)
    draws = order.count_draws(len(state.epochs), shown, len(checkpoint.labels))
    summary: dict[str, Any] = {
        "valid_top1": best.valid_top1,
        "valid_top5": best.valid_top5,
        "last_quarter": last_quarter(state.epochs),
        "valid_loss": best.valid_loss,
        "valid_images": len(valid),
        "best_epoch": best.epoch,
        "epochs": len(state.epochs),
        "seconds": round(state.epochs[-1].seconds, 1),
        "images_per_second": round(trained / state.epochs[-1].seconds, 1),
        "train_images_per_second": round(
            facts["train_images"] / facts["train_seconds"], 1
        ),
        "ema_step": checkpoint.ema_step,
        **describe_model(network, checkpoint.image_size),
        "trainable": count_trainable(
            network, frozen=recipe.freeze_epochs >= len(state.epochs)
        ),
        "device": state.device,
        "precision": _precision(recipe),
        "threads": facts["threads"],
        **{name: value for name, value in facts.items() if name.startswith("peak_")},
        "draws": dict(zip(checkpoint.labels, draws, strict=True)),
        "kept": [
            {
                "file": "model.ckpt" if epoch is best else epoch_file(epoch),
                "epoch": epoch.epoch,
                "valid_top1": epoch.valid_top1,
                "valid_loss": epoch.valid_loss,
            }
            for epoch in (best, *others)
        ],
        "recipe": recipe.model_dump(mode="json"),
    }
    if weights:
        match = weights.match(network, checkpoint.labels)
        summary["weights"] = {"sha256": weights.digest(), **asdict(match)}
    return Training(
        checkpoint,
        {epoch_file(e): load_checkpoint(work.folder / epoch_file(e)) for e in others},
        pd.DataFrame([asdict(epoch) for epoch in state.epochs]),
        augmented_samples(train.images, recipe.augmentation, recipe.seed),
        {int(epoch): np.array(counts) for epoch, counts in facts["confusions"].items()},
        summary,
    )


class _quiet_lightning(warnings.catch_warnings):
    """Keeps Lightning's advice for interactive users out of the log."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
