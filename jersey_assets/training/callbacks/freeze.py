"""A frozen backbone: pretrained layers stay until the new head has settled."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from jersey_assets.training.network.architectures import classification_head


class FreezeBackbone(Callback):
    """Holds all layers but the classification head for a number of epochs.

    Their weights get no gradient, and their BatchNorm statistics stay too. The epoch
    alone decides, so a resumed training is frozen or free as it was.
    """

    def __init__(self, epochs: int) -> None:
        """Sets for how many epochs."""
        self._epochs = epochs

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Lightning starts no epoch where it resumes in the middle of one.
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
    """Counts the numbers that training changes.

    Args:
        network: the model.
        frozen: whether its backbone stayed frozen to the end.
    """
    _, head = classification_head(network)
    learning = head if frozen else network
    return sum(parameter.numel() for parameter in learning.parameters())
