"""Averaged weights against an average written by hand, over real steps."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jersey_assets.training.callbacks.ema import ExponentialMovingAverage, ramped_decay


class Small(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(5)
        )
        self.layers(torch.zeros(2, 3, 8, 8))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, targets = batch
        return nn.functional.cross_entropy(self.layers(images), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ByHand(pl.Callback):
    """The same average, one tensor at a time, in plain arithmetic."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.steps = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.average = {k: v.clone() for k, v in module.state_dict().items()}

    def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:
        if trainer.global_step == self.steps:
            return  # its gradients were accumulated
        self.steps = trainer.global_step
        step = self.steps - 1
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.average[name] = decay * self.average[name] + (1 - decay) * value
            else:
                self.average[name] = value.clone()


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("decay", [0.9999, 0.3])
def test_the_average_is_the_one_written_by_hand(
    decay: float, accumulate: int, tmp_path
) -> None:
    torch.manual_seed(0)
    module = Small()
    data = TensorDataset(torch.randn(24, 3, 8, 8), torch.randint(5, (24,)))
    by_hand = ByHand(decay)
    ema = ExponentialMovingAverage(decay)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[by_hand, ema],
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader(data, batch_size=4))
    assert trainer.global_step == 18 // accumulate
    averaged = module.state_dict()
    assert by_hand.average.keys() == averaged.keys()
    for name, value in by_hand.average.items():
        torch.testing.assert_close(averaged[name], value)


def test_the_ramp_rises_to_the_decay() -> None:
    assert ramped_decay(0, 0.9999) == 0.1
    assert ramped_decay(90, 0.9999) == 0.91
    assert ramped_decay(10**7, 0.9999) == 0.9999
