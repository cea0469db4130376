"""Freezes pretrained layers for the first epochs (`freeze_epochs`)."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from jersey_assets.training.network.architectures import classification_head


class FreezeBackbone(Callback):
    """Freezes all layers except the classification head for a number of epochs.

    Their weights get no gradient, and their BatchNorm statistics do not change. Only
    the epoch decides, so a resumed training is in the same state as before.
    """

    def __init__(self, epochs: int) -> None:
        """Sets for how many epochs."""
        self._epochs = epochs

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Lightning does not start an epoch if it resumes in the middle of one.
        self._hold(trainer, module)

    def on_train_epoch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> None:
        self._hold(trainer, module)

    def _hold(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        free = trainer.current_epoch >= self._epochs
        network = module.model
        assert isinstance(network, nn.Module)
        _, head = classification_head(network)
        network.requires_grad_(free).train(free)
        head.requires_grad_(True).train()


def count_trainable(network: nn.Module, *, frozen: bool) -> int:
    """Counts the parameters that training changes.

    Args:
        network: the model.
        frozen: whether its backbone was frozen to the end.
    """
    _, head = classification_head(network)
    learning = head if frozen else network
    return sum(parameter.numel() for parameter in learning.parameters())
