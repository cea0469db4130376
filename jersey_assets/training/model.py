"""The networks that a recipe can name, shaped for crops of some tens of pixels."""

from __future__ import annotations

import itertools

import torchvision
from torch import Tensor, nn

from jersey_assets.training.recipe import Recipe

_PLACES = (2, 4)


def build_model(recipe: Recipe, num_classes: int) -> nn.Module:
    """Builds the recipe's network with random weights from torch's global generator.

    Args:
        recipe: names the network and its stem.
        num_classes: size of the output.

    Returns:
        A module from float32 [n, 3, S, S] to logits [n, num_classes].
    """
    if recipe.model == "jerseynet":
        return JerseyNet(num_classes)
    model: nn.Module = torchvision.models.get_model(
        recipe.model, weights=None, num_classes=num_classes
    )
    if recipe.stem == "small":
        # 7x7 stride 2 and max pooling leave 16 x 16 of a 64-px crop before the first
        # block; digits of 30 px need more of it.
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=2, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model


class JerseyNet(nn.Module):
    """A residual network for crops of some 64 px on CPUs: 1/8 of ResNet18's work.

    Few and wide layers, after the fast CIFAR-10 networks (ResNet-9 of D. Page's
    DAWNBench entry): resolution falls to a quarter within two layers, since a crop
    is itself enlarged from some 30 px, and each width has one residual block.
    """

    def __init__(self, num_classes: int) -> None:
        """Makes the layers for this number of classes."""
        super().__init__()
        widths = (32, 64, 128, 256)
        layers: list[nn.Module] = [_conv(3, widths[0], stride=2)]
        for before, width in itertools.pairwise(widths):
            layers += [_conv(before, width, stride=2), _Residual(width)]
        self.features = nn.Sequential(*layers)
        # Keeps where in the crop a shape was seen: 12 and 21 hold the same digits.
        self.pool = nn.AdaptiveAvgPool2d(_PLACES)
        self.head = nn.Linear(widths[-1] * _PLACES[0] * _PLACES[1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float [n, 3, S, S] to logits [n, num_classes]."""
        logits: Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return logits


class _Residual(nn.Module):
    """Two convolutions beside the identity, silent at the start of training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(width, width), _conv(width, width))
        nn.init.zeros_(self.layers[1][1].weight)  # type: ignore[index]

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = maps + self.layers(maps)
        return added


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def classification_head(network: nn.Module) -> tuple[str, nn.Linear]:
    """Finds a network's head, its last linear layer, and the name of it."""
    layers = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    return layers[-1]
