"""Real checkpoints and crops, small enough for tests, and a model's properties."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from jersey_assets.export.file_metadata import Provenance
from jersey_assets.export.onnx_model import export_onnx
from jersey_assets.training.callbacks.ema import ramped_decay
from jersey_assets.training.checkpoint import Checkpoint, load_checkpoint
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.recipe import Recipe

LABELS = ("", "0", "00", "1", "10", "2", "23", "3", "4", "7", "99")
PROVENANCE = Provenance(
    dataset_fingerprint="d1", recipe_hash="r1", code_version="c1", run_id="run-1"
)


class SmallNetwork(nn.Sequential):
    """Two blocks of a ResNet's parts: quick to export, and just as easy to break."""

    def __init__(self, classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, classes),
        )


@dataclass(frozen=True)
class SmallCheckpoint(Checkpoint):
    """A checkpoint of a network that no recipe offers."""

    def build_model(self, *, raw: bool = False) -> nn.Module:
        """Builds the small network with the averaged or the raw weights."""
        model = SmallNetwork(len(self.labels))
        model.load_state_dict(self.raw_state_dict if raw else self.state_dict)
        return model.eval()


def train(model: nn.Module, image_size: int) -> tuple[dict, dict]:
    """Takes three real optimizer steps; gives averaged and raw weights."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    averaged = {k: v.clone() for k, v in model.state_dict().items()}
    targets = torch.arange(16) % len(LABELS)
    inputs = torch.randn(16, 3, image_size, image_size) + targets.view(-1, 1, 1, 1) / 5
    for step in range(3):
        loss = nn.functional.cross_entropy(model.train()(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averaged[name].lerp_(value, 1 - ramped_decay(step, 0.9999))
            else:
                averaged[name].copy_(value)
    return averaged, {k: v.clone() for k, v in model.state_dict().items()}


def make_checkpoint(kind: type[Checkpoint], model: nn.Module, size: int) -> Checkpoint:
    averaged, raw = train(model, size)
    return kind(
        recipe=Recipe(image_size=size),
        labels=LABELS,
        mean=(0.44, 0.42, 0.41),
        std=(0.25, 0.24, 0.23),
        ema_step=3,
        valid_top1=0.1,
        valid_loss=2.3,
        state_dict=averaged,
        raw_state_dict=raw,
        sha256="c" * 64,
    )


def small_checkpoint() -> Checkpoint:
    """A checkpoint of a network that is quick to export."""
    torch.manual_seed(1)
    return make_checkpoint(SmallCheckpoint, SmallNetwork(len(LABELS)), 32)


def resnet_checkpoint(path: Path) -> Checkpoint:
    """A recipe's network in a checkpoint file that is written and read."""
    torch.manual_seed(2)
    recipe = Recipe(image_size=64)
    made = make_checkpoint(Checkpoint, build_model(recipe, LABELS), 64)
    made.save(path)
    return load_checkpoint(path)


def export(checkpoint: Checkpoint, folder: Path) -> Path:
    """Exports into a folder, and gives it back."""
    export_onnx(checkpoint, folder, PROVENANCE)
    return folder


def make_crops(count: int, size: int) -> Crops:
    """Random smooth crops with targets in turn."""
    draw = np.random.default_rng(3)
    coarse = draw.integers(0, 256, (count, 3, size // 4 + 1, size // 4 + 1), np.uint8)
    fine = coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :size, :size]
    images = torch.from_numpy(fine.copy())
    targets = torch.arange(count) % len(LABELS)
    return Crops(images, targets, tuple(f"crops/{i:04}.png" for i in range(count)))


def properties(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def set_property(model: onnx.ModelProto, key: str, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    onnx.helper.set_model_props(model, {**properties(model), key: text})
