"""The losses (`loss`): cross-entropy and focal loss, smoothing, class weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from jersey_assets.training.recipe import Balance, Recipe

# A class weighs in proportion to this power of its number of crops.
_POWER: dict[Balance, float] = {"none": 0.0, "sqrt": -0.5, "balanced": -1.0}

# If the true class is certain, the gradient for a gamma below 1 would be infinite.
_LEAST_DOUBT = 1e-6


def class_weights(targets: Tensor, num_classes: int, balance: Balance) -> Tensor:
    """Weights that make rare classes count more; the mean over the crops is 1.

    Args:
        targets: int64 [n], class indices of the train split.
        num_classes: number of classes.
        balance: `none` gives ones, `balanced` the inverse of each class's number of
            crops, `sqrt` the square root of that.

    Returns:
        float32 [num_classes].
    """
    counts = targets.bincount(minlength=num_classes).clamp_min(1).double()
    weights = counts ** _POWER[balance]
    return (weights / weights[targets].mean()).float()


class ClassificationLoss(nn.Module):
    """The recipe's loss: maps logits and classes to the mean over a batch.

    In the focal loss (Lin et al. 2017, "Focal loss for dense object detection") crops
    count less the more confidently they are read: (1 - p) ** gamma times cross-entropy;
    with gamma 0 it is cross-entropy. Smoothing and class weights act in both as in
    `torch.nn.functional.cross_entropy`.
    """

    def __init__(self, recipe: Recipe, weights: Tensor) -> None:
        """Takes `loss`, `focal_gamma` and `label_smoothing` from the recipe.

        Args:
            recipe: the training's settings.
            weights: float32 [classes], as `class_weights` gives them.
        """
        super().__init__()
        self._focal = recipe.loss == "focal"
        self._gamma, self._smoothing = recipe.focal_gamma, recipe.label_smoothing
        # Not part of checkpoints: it follows from the train split.
        self.register_buffer("weights", weights, persistent=False)
        self.weights: Tensor

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch: logits float [n, classes], targets int64 [n]."""
        if self._focal:
            return self._sum_focal(logits, targets) / len(targets)
        # Not PyTorch's weighted mean: divided by its own weights' sum, a batch of rare
        # crops would count no more than a frequent one, and shards would not add up.
        summed = F.cross_entropy(
            logits,
            targets,
            self.weights,
            reduction="sum",
            label_smoothing=self._smoothing,
        )
        return summed / len(targets)

    def _sum_focal(self, logits: Tensor, targets: Tensor) -> Tensor:
        likelihood = logits.log_softmax(1)
        wanted = F.one_hot(targets, logits.shape[1]).to(likelihood.dtype)
        wanted = wanted * (1 - self._smoothing) + self._smoothing / logits.shape[1]
        doubt = (-likelihood.expm1()).clamp_min(_LEAST_DOUBT) ** self._gamma
        return -(wanted * self.weights * doubt * likelihood).sum()
