"""The network architectures that a recipe can name: JerseyNet and ResNets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jersey_assets.training.recipe import Recipe

_STAGES = ((32, 1), (64, 2), (128, 2), (256, 2))
"""Channels and residual blocks of each stage; each halves the resolution."""

_PLACES = (2, 4)


def build_model(recipe: Recipe, labels: Sequence[str]) -> nn.Module:
    """Builds the recipe's network with random weights from torch's global generator.

    Args:
        recipe: names the network and its stem.
        labels: the labels, in class order.

    Returns:
        A module from float32 [n, 3, S, S] to logits [n, classes].
    """
    if recipe.model == "jerseynet":
        return JerseyNet(labels)
    import torchvision  # imports slower than PyTorch itself; JerseyNet works without it

    model: nn.Module = torchvision.models.get_model(
        recipe.model, weights=None, num_classes=len(labels)
    )
    if recipe.stem == "small":
        # A 7x7 convolution of stride 2 and max pooling leave 16 x 16 of a 64-px crop
        # before the first block; digits of 30 px need more.
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model


class JerseyNet(nn.Module):
    """A residual network for crops of some 64 px on CPUs: 1/4 of ResNet18's work.

    Few and narrow layers, after the fast CIFAR-10 networks (ResNet-9 of D. Page's
    DAWNBench entry): the first layer halves the resolution, since a crop is itself
    enlarged from some 30 px, and each width has one or two residual blocks.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Makes the layers for these labels, in class order."""
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, residuals in _STAGES:
            layers.append(_conv(before, width, stride=2))
            layers += [_Residual(width) for _ in range(residuals)]
            before = width
        self.features = nn.Sequential(*layers)
        # Keeps where in the crop a shape was seen: 12 and 21 have the same digits.
        self.pool = nn.AdaptiveAvgPool2d(_PLACES)
        self.head = SpelledLinear(before * _PLACES[0] * _PLACES[1], labels)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float [n, 3, S, S] to logits [n, classes]."""
        logits: Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return logits


class SpelledLinear(nn.Linear):
    """A linear layer in which labels share the weights of their characters.

    A label's weights are its own plus those of its characters, each at its place from
    the right: 26 learns from all crops of 2x and of x6. It is still one linear map, so
    a trained model can express no more, and costs no more, than with a plain layer.
    """

    incidence: Tensor

    def __init__(self, features: int, labels: Sequence[str]) -> None:
        """Makes the layer for labels in class order."""
        super().__init__(features, len(labels))
        longest = max(map(len, labels), default=0)
        spelled = [set(enumerate(label.rjust(longest))) for label in labels]
        written = sorted(set().union(*spelled))
        # All characters of a label learn at once. Together they count as at most two:
        # the sum of thirty would take steps too large to learn anything.
        share = min(1.0, 2 / max(longest, 1))
        incidence = torch.tensor([[share * (c in s) for c in written] for s in spelled])
        # It follows from the labels, so no file needs to store it.
        self.register_buffer("incidence", incidence, persistent=False)
        self.character_weight = nn.Parameter(torch.zeros(len(written), features))

    def forward(self, features: Tensor) -> Tensor:
        """Maps float [n, features] to logits [n, classes]."""
        return F.linear(features, self._summed(), self.bias)

    def plain(self) -> nn.Linear:
        """A plain linear layer that gives the same logits."""
        layer = nn.Linear(self.in_features, self.out_features)
        with torch.no_grad():
            layer.weight.copy_(self._summed())
            layer.bias.copy_(self.bias)
        return layer

    def _summed(self) -> Tensor:
        return self.weight + self.incidence @ self.character_weight


class _Residual(nn.Module):
    """Two convolutions beside the identity, which add zero at the start of training.

    The second has no ReLU of its own: after a normalization with zero weights it would
    let no gradient through, and the block would add zero forever.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(width, width), _conv(width, width)[:2])
        nn.init.zeros_(self.layers[1][1].weight)  # type: ignore[index]

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.layers(maps))


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def classification_head(network: nn.Module) -> tuple[str, nn.Linear]:
    """Finds a network's head, its last linear layer, and its name."""
    layers = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    return layers[-1]
