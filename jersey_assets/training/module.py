"""The Lightning module: training and validation step, AdamW, learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from jersey_assets.training.augment.augmentation import augment
from jersey_assets.training.data.crops import normalize
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.network.loss import ClassificationLoss
from jersey_assets.training.recipe import DEFAULT_EPOCHS, Recipe


class TrainingModule(pl.LightningModule):
    """The training and validation step."""

    def __init__(
        self,
        recipe: Recipe,
        labels: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        steps: int,
        class_weights: Tensor,
    ) -> None:
        """Makes the network, its loss and its metrics.

        Args:
            recipe: the training's settings.
            labels: the labels, in class order.
            mean: channel means, on the 0..1 scale.
            std: channel standard deviations, likewise.
            steps: optimizer steps of the whole training.
            class_weights: float32 [classes], as `loss.class_weights` gives them.
        """
        super().__init__()
        self.recipe = recipe
        self.num_classes = num_classes = len(labels)
        self.normalization = mean, std
        self.steps = steps
        network = build_model(recipe, labels)
        self.model = network.to(memory_format=torch.channels_last)
        self.loss = ClassificationLoss(recipe, class_weights)
        top5 = min(5, num_classes)
        # Checking for NaN would make a GPU wait; a NaN loss ends the training anyway.
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.valid_loss = MeanMetric()
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.valid_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.valid_confusion = MulticlassConfusionMatrix(num_classes)
        self.valid_top5 = MulticlassAccuracy(num_classes, top_k=top5, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, targets = batch
        # Seeded by the batch, so that a crop's look doesn't depend on what ran before.
        number = self.current_epoch * int(self.trainer.num_training_batches) + index
        generator = torch.Generator(images.device)
        generator.manual_seed(self.recipe.seed * 1_000_003 + number)
        images = augment(images, self.recipe.augmentation, generator)
        images, targets = self._own(images), self._own(targets)
        logits = self._logits(images)
        loss: Tensor = self.loss(logits, targets)
        self.train_loss.update(loss.detach())
        self.train_top1.update(logits.detach(), targets)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, targets = map(self._own, batch)
        if len(targets):
            # In full precision, since the weights will be used that way later.
            with torch.autocast(images.device.type, enabled=False):
                logits = self._logits(images)
            loss = F.cross_entropy(logits, targets)
            self.valid_loss.update(loss, weight=len(targets))
            self.valid_top1.update(logits, targets)
            self.valid_top5.update(logits, targets)
            self.valid_confusion.update(logits, targets)
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
        # The memory of weight decay is set in epochs: Wang and Aitchison, "How to set
        # AdamW's weight decay as you scale model and dataset size" (2024). For epochs
        # of a few steps that is too short; then it is a share of the training.
        assert self.recipe.epochs
        memory = self.steps / min(self.recipe.epochs, DEFAULT_EPOCHS)
        share = -math.expm1(math.log1p(-self.recipe.decay) / memory)
        decay = share / self.recipe.learning_rate
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=self.recipe.learning_rate,
            # A fused optimizer would undo float16's loss scaling after the clipping.
            fused=self.trainer.precision != "16-mixed",
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clips gradients, which Lightning itself refuses for a fused optimizer."""
        if self.recipe.gradient_clip:
            torch.nn.utils.clip_grad_norm_(
                self.model.parameters(), self.recipe.gradient_clip, foreach=True
            )

    def _learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero, as a share of the peak."""
        warmup = max(1, round(self.recipe.warmup * self.steps))
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def _own(self, batch: Tensor) -> Tensor:
        """Returns this process's rows of a batch.

        All processes draw and augment the whole batch, so that its crops don't depend
        on the number of processes; on a GPU that takes no longer than a part of it.
        """
        return batch[self.global_rank :: self.trainer.world_size]

    def _logits(self, images: Tensor) -> Tensor:
        inputs = normalize(images, *self.normalization)
        logits: Tensor = self.model(
            inputs.contiguous(memory_format=torch.channels_last)
        )
        return logits
