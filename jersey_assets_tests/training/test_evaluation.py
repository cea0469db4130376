"""Evaluation: what is shown of it, and where Grad-CAM says that a network looked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jersey_assets.training.data.crops import Crops
from jersey_assets.training.evaluation import Evaluation, evaluate, write_evaluation
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.network.gradcam import grad_cam
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.result import Training


def evaluation_of(logits: Tensor, targets: Tensor) -> Evaluation:
    names = tuple(map(str, range(len(targets))))
    return Evaluation("valid", ("a", "b"), names, logits, targets, 1)


def test_samples_are_the_worst_and_a_spread_over_the_rest() -> None:
    surety = torch.linspace(-3, 3, 100)
    logits = torch.stack([surety, -surety], 1)[torch.randperm(100)]
    made = evaluation_of(logits, torch.zeros(100, dtype=torch.int64))
    shown = made.samples(12)
    order = logits[:, 0].argsort()
    assert shown[:8].tolist() == order[:8].tolist()
    assert shown[8] == order[8]
    assert shown[-1] == order[-1]
    assert len(set(shown.tolist())) == 12


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_few_crops_are_shown_once_each(count: int) -> None:
    made = evaluation_of(torch.randn(count, 2), torch.zeros(count, dtype=torch.int64))
    assert sorted(made.samples(12).tolist()) == list(range(count))


class Patches(nn.Module):
    """Answers 0 or 1 by how much red or green there is, wherever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Conv2d(3, 2, 1, bias=False)
        self.stage.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]])[..., None, None]
        self.head = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.head(self.stage(images).mean((2, 3)))
        return answers


def test_grad_cam_is_bright_where_the_answer_is_seen() -> None:
    images = torch.zeros(2, 3, 16, 16)
    images[0, 0, 2:6, 8:12] = 1  # red, the answer
    images[0, 1, 10:13, 1:4] = 1  # a little green
    images[1, 1, 10:15, 1:6] = 1
    maps = grad_cam(Patches().eval(), images)
    assert maps.shape == (2, 16, 16)
    torch.testing.assert_close(maps[0], images[0, 0])
    torch.testing.assert_close(maps[1], images[1, 1])


@pytest.mark.parametrize("model", ["jerseynet", "resnet18", "resnet50"])
@pytest.mark.parametrize("frozen", [False, True])
def test_every_network_has_maps_of_the_crops_size(model: str, frozen: bool) -> None:
    torch.manual_seed(0)
    recipe = Recipe.model_validate({"model": model})
    network = build_model(recipe, "01234").eval().requires_grad_(not frozen)
    maps = grad_cam(network, torch.randn(3, 3, 64, 64))
    assert maps.shape == (3, 64, 64)
    assert maps.min() >= 0
    assert maps.amax((1, 2)).tolist() == pytest.approx([1, 1, 1])


def test_the_report_and_its_pictures_are_written(
    training: Training, valid: Crops, tmp_path: Path
) -> None:
    checkpoint = training.checkpoint
    write_evaluation(evaluate(checkpoint, "valid", valid), checkpoint, valid, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["images"] == len(valid)
    pictures = {path.stem for path in tmp_path.glob("*.png")}
    assert pictures == {"confusion", "per_class", "predictions", "grad_cam"}
