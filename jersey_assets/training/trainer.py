"""Sets up Lightning's trainer and callbacks, and trains in one process."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from torch import nn

from jersey_assets.training.callbacks.confusions import Confusions
from jersey_assets.training.callbacks.ema import ExponentialMovingAverage
from jersey_assets.training.callbacks.finite import FiniteLoss
from jersey_assets.training.callbacks.freeze import FreezeBackbone
from jersey_assets.training.callbacks.history import History
from jersey_assets.training.callbacks.progress import Progress
from jersey_assets.training.callbacks.saving import Saving
from jersey_assets.training.callbacks.threads import Threads
from jersey_assets.training.data.batches import make_loaders
from jersey_assets.training.epochs import Epoch
from jersey_assets.training.errors import Interrupted, TrainingError
from jersey_assets.training.loggers import experiment_logger
from jersey_assets.training.module import TrainingModule
from jersey_assets.training.network.architectures import classification_head
from jersey_assets.training.network.batchnorm import SyncedBatchNorm
from jersey_assets.training.network.loss import class_weights
from jersey_assets.training.network.pretrained import Pretrained
from jersey_assets.training.plan import Plan, load_plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.resume import ResumeFolder, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """How far a training has come, and where its files go.

    Attributes:
        folder: where it is saved.
        state: how far it has come.
        logs: where the files of the recipe's logger go.
    """

    folder: ResumeFolder
    state: State
    logs: Path

    def run(self, plan: Plan, report: Callable[[Epoch], None]) -> None:
        """Trains until the plan is done.

        Args:
            plan: the training's.
            report: called after each epoch.

        Raises:
            Interrupted: the process was asked to stop; the training is saved.
            TrainingError: see `fit`.
        """
        recipe = plan.recipe
        loaders = make_loaders(recipe, plan.data.train, plan.data.valid)
        pl.seed_everything(recipe.seed, verbose=False)
        module = _make_module(plan)
        callbacks, saving = self._callbacks(plan, report)
        with (
            _quiet_lightning(),
            experiment_logger(recipe, self.logs, self.folder.path.name) as logger,
        ):
            if logger:
                callbacks.append(LearningRateMonitor("epoch"))
            trainer = pl.Trainer(
                callbacks=callbacks,
                logger=logger or False,
                default_root_dir=self.folder.path,
                **_settings(plan),
            )
            _say_start(plan, trainer)
            resume = self.state.resume
            checkpoint = self.folder.path / resume if resume else None
            trainer.fit(module, *loaders, ckpt_path=checkpoint, weights_only=True)
        if saving.asked_to_stop:
            raise Interrupted("training was interrupted; the next run has its result")

    def run_stored(self, path: Path, report: Callable[[Epoch], None]) -> None:
        """Runs a plan that another process has stored."""
        self.run(load_plan(path), report)

    def _callbacks(
        self, plan: Plan, report: Callable[[Epoch], None]
    ) -> tuple[list[Callback], Saving]:
        """All callbacks, in the order in which Lightning calls them."""
        recipe, record = plan.recipe, self.state.record
        ema = ExponentialMovingAverage(recipe.ema_decay)
        saving = Saving(self.folder, plan, record, ema)
        callbacks = [
            Threads(record, recipe.threads, plan.batch_size),
            FiniteLoss(),
            FreezeBackbone(recipe.freeze_epochs),
            ema,
            History(record, report),
            Progress(record, plan.batch_size),
            Confusions(record, recipe.confusion_every),
            saving,
        ]
        return callbacks, saving


def _make_module(plan: Plan) -> TrainingModule:
    """Makes the Lightning module with the plan's starting weights."""
    recipe, data = plan.recipe, plan.data
    module = TrainingModule(
        recipe,
        data.labels,
        data.mean,
        data.std,
        plan.steps,
        class_weights(data.train.targets, len(data.labels), recipe.class_weights),
    )
    if plan.weights:
        _start_from(plan.weights, module.model, plan)
    return module


def _start_from(weights: Pretrained, network: nn.Module, plan: Plan) -> None:
    """Puts pretrained weights into a network.

    Raises:
        TrainingError: they are of another network, or freezing would keep layers that
            they leave at random.
    """
    match = weights.put_into(network, plan.data.labels)
    log.info(
        "starting from %s: %d tensors loaded; at random: %s",
        weights.name,
        len(match.taken),
        ", ".join(match.left) or "none",
    )
    head, _ = classification_head(network)
    random = [name for name in match.left if not name.startswith(head)]
    if plan.recipe.freeze_epochs and random:
        raise TrainingError(
            f"freeze_epochs: {plan.recipe.freeze_epochs} would freeze layers that "
            f"{weights.name} has no weights for: {', '.join(random)}; "
            "set freeze_epochs: 0, or, for torchvision's, stem: imagenet"
        )


def _settings(plan: Plan) -> dict[str, Any]:
    """Lightning's settings for a plan, with its own additions switched off."""
    recipe = plan.recipe
    return {
        "max_epochs": plan.epochs,
        "precision": _precision(recipe),
        "accumulate_grad_batches": recipe.accumulate,
        "devices": recipe.devices,
        "strategy": _strategy(recipe),
        "plugins": [SyncedBatchNorm()] if recipe.devices > 1 else None,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    }


def _precision(recipe: Recipe) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """The recipe's precision; `auto` depends on the processor that will train."""
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
    # Frozen layers have no gradients to wait for.
    return "ddp_find_unused_parameters_true" if recipe.freeze_epochs else "ddp"


def _say_start(plan: Plan, trainer: pl.Trainer) -> None:
    log.info(
        "training %s at %d px on %s in %s: %d crops, %d classes, %d batches of %d per "
        "epoch",
        plan.recipe.model,
        plan.recipe.image_size,
        trainer.strategy.root_device,
        trainer.precision,
        len(plan.data.train),
        len(plan.data.labels),
        plan.batches,
        plan.batch_size,
    )


class _quiet_lightning(warnings.catch_warnings):
    """Keeps Lightning's advice for interactive users out of the log."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
