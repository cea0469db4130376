"""Losses against PyTorch's and against the formula, and what a recipe may combine."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from jersey_assets.training.data.crops import Crops
from jersey_assets.training.network.loss import ClassificationLoss, class_weights
from jersey_assets.training.recipe import Recipe
from jersey_assets_tests.training.quick import quick_fit

LOGITS = 3 * torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
WEIGHTS = class_weights(TARGETS, 5, "balanced")


def loss_of(weights: torch.Tensor = WEIGHTS, **knobs: object) -> ClassificationLoss:
    return ClassificationLoss(Recipe.model_validate(knobs), weights)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_pytorchs(smoothing: float) -> None:
    knobs = {"label_smoothing": smoothing}
    torch.testing.assert_close(
        loss_of(torch.ones(5), **knobs)(LOGITS, TARGETS),
        F.cross_entropy(LOGITS, TARGETS, **knobs),
    )
    summed = F.cross_entropy(LOGITS, TARGETS, WEIGHTS, reduction="sum", **knobs)
    torch.testing.assert_close(loss_of(**knobs)(LOGITS, TARGETS), summed / 12)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_the_losses_of_two_halves_add_up_to_that_of_the_batch(loss: str) -> None:
    made = loss_of(loss=loss)
    halves = [made(LOGITS[i::2], TARGETS[i::2]) for i in (0, 1)]
    torch.testing.assert_close(made(LOGITS, TARGETS), sum(halves) / 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_without_focus_is_cross_entropy(smoothing: float) -> None:
    knobs = {"label_smoothing": smoothing}
    focal = loss_of(loss="focal", focal_gamma=0, **knobs)
    torch.testing.assert_close(
        focal(LOGITS, TARGETS), loss_of(**knobs)(LOGITS, TARGETS)
    )


def test_focal_loss_is_the_formula() -> None:
    ones = torch.ones(5)
    ours = loss_of(ones, loss="focal", focal_gamma=1.5, label_smoothing=0)
    right = LOGITS.softmax(1).gather(1, TARGETS[:, None])
    formula = -((1 - right) ** 1.5 * right.log()).mean()
    torch.testing.assert_close(ours(LOGITS, TARGETS), formula)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_a_certain_crop_gives_a_finite_slope(gamma: float) -> None:
    logits = torch.tensor([[80.0, -80.0, 0, 0, 0]], requires_grad=True)
    loss_of(loss="focal", focal_gamma=gamma)(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_class_weights_follow_the_counts() -> None:
    balanced = class_weights(TARGETS, 5, "balanced")
    assert balanced[:4].tolist() == pytest.approx([0.5, 1, 1.5, 3])
    root = class_weights(TARGETS, 5, "sqrt")
    assert (root[3] / root[0]).item() == pytest.approx(6**0.5)
    for weights in (balanced, root):
        assert weights[TARGETS].mean().item() == pytest.approx(1)
    assert class_weights(TARGETS, 5, "none").tolist() == [1] * 5


def test_correcting_the_imbalance_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="correct the imbalance twice"):
        Recipe(sampler="sqrt", class_weights="balanced")


def test_a_focus_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"no effect with loss: cross_entropy"):
        Recipe(focal_gamma=1)


@pytest.mark.parametrize(
    "knob", [{"focal_gamma": -1}, {"loss": "hinge"}, {"sampler": "all"}]
)
def test_a_value_out_of_range_is_refused_by_name(knob: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(knob))):
        Recipe.model_validate({"loss": "focal"} | knob)


@pytest.mark.parametrize(
    "knobs",
    [{"loss": "focal"}, {"class_weights": "balanced"}, {"class_weights": "sqrt"}],
)
def test_each_loss_trains(
    labels: list[str], train: Crops, valid: Crops, knobs: dict[str, str]
) -> None:
    made = quick_fit(labels, train, valid, epochs=3, **knobs)
    losses = made.history["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
