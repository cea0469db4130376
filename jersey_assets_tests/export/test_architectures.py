"""Every network that a recipe offers, and others, exports and keeps the contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from jersey_assets.export.comparison import compare
from jersey_assets.export.contract.check import check_model
from jersey_assets.export.onnx_model import export_onnx
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.export.models import LABELS, PROVENANCE, make_crops

slow = pytest.mark.slow


@dataclass(frozen=True)
class OtherCheckpoint(Checkpoint):
    """A checkpoint of one of torchvision's networks."""

    network: str = ""

    def build_model(self, *, raw: bool = False) -> nn.Module:
        """Builds the network with the averaged or the raw weights."""
        model = torchvision.models.get_model(
            self.network, weights=None, num_classes=len(self.labels)
        )
        model.load_state_dict(self.raw_state_dict if raw else self.state_dict)
        return model.eval()


def warmed(model: nn.Module, size: int) -> dict[str, torch.Tensor]:
    """Random weights with statistics that fit them, so that scores differ."""
    for name, weights in model.named_parameters():
        if "head" in name or "fc" in name or "classifier" in name:
            nn.init.normal_(weights, std=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(3):
            noise = torch.randn(4, 3, size, size)
            smooth = torch.randn(4, 3, 4, 4).repeat_interleave(size // 4 + 1, 2)
            smooth = smooth.repeat_interleave(size // 4 + 1, 3)[..., :size, :size]
            flat = torch.linspace(-2, 2, 4).view(4, 1, 1, 1).expand_as(noise)
            model.train()(torch.cat([noise, smooth, flat]))
    return {name: value.clone() for name, value in model.state_dict().items()}


def check(checkpoint: Checkpoint, folder: Path) -> None:
    export_onnx(checkpoint, folder, PROVENANCE)
    verdicts = check_model(folder / "model.onnx", checkpoint)
    assert [v.message for v in verdicts if not v.passed] == []
    crops = make_crops(9, checkpoint.image_size)
    report = compare(folder / "model.onnx", checkpoint, crops).report
    assert report["passed"], report


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "jerseynet", "image_size": 36},
        pytest.param({"model": "jerseynet", "image_size": 33}, marks=slow),
        pytest.param({"model": "jerseynet", "image_size": 96}, marks=slow),
        pytest.param({"model": "resnet18", "image_size": 64}, marks=slow),
        pytest.param(
            {"model": "resnet34", "stem": "imagenet", "image_size": 64}, marks=slow
        ),
        pytest.param({"model": "resnet50", "image_size": 48}, marks=slow),
        pytest.param(
            {"model": "resnet50", "stem": "imagenet", "image_size": 64}, marks=slow
        ),
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_a_recipes_network_keeps_the_contract(
    settings: dict[str, Any], resnet: Checkpoint, tmp_path: Path
) -> None:
    recipe = Recipe(**settings)
    torch.manual_seed(3)
    weights = warmed(build_model(recipe, LABELS), recipe.image_size)
    raw = {k: v * 1.01 if v.is_floating_point() else v for k, v in weights.items()}
    checkpoint = replace(resnet, recipe=recipe, state_dict=weights, raw_state_dict=raw)
    check(checkpoint, tmp_path)


@slow
@pytest.mark.parametrize(
    ("network", "size"),
    [
        ("mobilenet_v3_small", 64),
        ("efficientnet_b0", 64),
        ("convnext_tiny", 64),
        ("vit_b_16", 224),
    ],
)
def test_other_networks_keep_the_contract(
    network: str, size: int, resnet: Checkpoint, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    model = torchvision.models.get_model(network, weights=None, num_classes=len(LABELS))
    weights = warmed(model, size)
    raw = {k: v * 1.01 if v.is_floating_point() else v for k, v in weights.items()}
    checkpoint = OtherCheckpoint(
        recipe=Recipe(image_size=size),
        labels=LABELS,
        mean=resnet.mean,
        std=resnet.std,
        ema_step=3,
        valid_top1=0.1,
        valid_loss=2.0,
        state_dict=weights,
        raw_state_dict=raw,
        sha256="e" * 64,
        network=network,
    )
    check(checkpoint, tmp_path)
