"""Weights that a training starts from: torchvision's, or a file that people supplied.

Run config names them and gives no path and no address. What is read is tensors and
plain values (`weights_only=True`): nothing in it can run.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from jersey_assets.training.errors import TrainingError
from jersey_assets.training.network.architectures import classification_head
from jersey_assets.training.recipe import Recipe

FOLDER = "weights"
"""Where supplied files lie, below the artifact root."""


@dataclass(frozen=True)
class Match:
    """What a network takes from pretrained weights, by the names of its tensors."""

    taken: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Pretrained:
    """Weights to start from.

    Attributes:
        name: as the recipe says it.
        tensors: by the names of torchvision's networks, or of ours.
        labels: what the classification head answers, in class order; None where
            the file does not say.
    """

    name: str
    tensors: Mapping[str, Tensor]
    labels: tuple[str, ...] | None

    def digest(self) -> str:
        """Digest of names and values: sha256, hex."""
        made = hashlib.sha256(repr(self.labels).encode())
        for name, tensor in sorted(self.tensors.items()):
            made.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            values = tensor.contiguous().view(-1).view(torch.uint8)
            made.update(values.numpy().data)
        return made.hexdigest()

    def match(self, network: nn.Module, labels: tuple[str, ...]) -> Match:
        """Finds what a network takes: every tensor of the same name and shape.

        A first layer of another shape keeps its random start, and so does the head
        where the labels are others.

        Args:
            network: what the weights are for.
            labels: what its head shall answer, in class order.

        Raises:
            TrainingError: less than half of the tensors fit: it is another network.
        """
        wanted = network.state_dict()
        fits = {
            name: name in self.tensors and self.tensors[name].shape == tensor.shape
            for name, tensor in wanted.items()
        }
        if self.labels not in (None, labels):
            head, _ = classification_head(network)
            fits |= {name: False for name in wanted if name.startswith(f"{head}.")}
        taken = tuple(name for name in wanted if fits[name])
        if len(taken) < len(wanted) / 2:
            raise TrainingError(
                f"weights: {self.name} fits {len(taken)} of {len(wanted)} tensors of "
                "the recipe's model, so it is of another network; name the model that "
                "it was made for, or set weights: none"
            )
        return Match(taken, tuple(name for name in wanted if not fits[name]))

    def put_into(self, network: nn.Module, labels: tuple[str, ...]) -> Match:
        """Copies what fits into a network.

        Raises:
            TrainingError: less than half of the tensors fit.
        """
        match = self.match(network, labels)
        state = {name: self.tensors[name] for name in match.taken}
        network.load_state_dict(state, strict=False)
        return match


def pretrained(recipe: Recipe, read: Callable[..., bytes]) -> Pretrained | None:
    """Gets the weights that a recipe names, or None for a random start.

    Args:
        recipe: names them.
        read: gives the content of the first file of these names that `FOLDER` has.

    Raises:
        TrainingError: torchvision's cannot be downloaded, or a file holds no weights.
    """
    if recipe.weights == "none":
        return None
    if recipe.weights == "imagenet":
        return _of_torchvision(recipe.model)
    data = read(*(f"{recipe.weights}{suffix}" for suffix in (".pt", ".ckpt")))
    return _supplied(recipe.weights, data)


def _of_torchvision(model: str) -> Pretrained:
    """Downloads torchvision's newest weights, once: it keeps them in its cache."""
    found = torchvision.models.get_model_weights(model).DEFAULT
    try:
        tensors = found.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"weights: imagenet cannot be had: torchvision did not get {found} for "
            f"{model} ({error}); this machine may have no network: put a file with "
            f"these weights into {FOLDER}/ below the artifact root and name it"
        ) from error
    return Pretrained("imagenet", tensors, labels=())


def _supplied(name: str, data: bytes) -> Pretrained:
    """Reads a state dictionary, or a checkpoint that has one with its labels."""
    try:
        content: Any = torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=True
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise TrainingError(
            f"weights: {name} is refused: it is damaged, or holds more than tensors "
            f"and plain values: {error}"
        ) from error
    known = isinstance(content, dict)
    tensors = content.get("state_dict", content) if known else None
    if not isinstance(tensors, dict) or not any(
        isinstance(value, Tensor) for value in tensors.values()
    ):
        raise TrainingError(
            f"weights: {name} holds no tensors by name: save a state_dict with "
            "torch.save, or take a model.ckpt of trained_checkpoint"
        )
    labels = content.get("labels")
    return Pretrained(
        name,
        {key: value for key, value in tensors.items() if isinstance(value, Tensor)},
        tuple(labels) if isinstance(labels, list) else None,
    )
