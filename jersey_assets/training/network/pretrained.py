"""Pretrained weights (`weights`): torchvision's, or a file supplied by the user.

Run config gives a name, not a path or a URL. Only tensors and plain values are read
(`weights_only=True`): nothing in the file can run.
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
"""Folder of supplied files, below the artifact root."""


@dataclass(frozen=True)
class Match:
    """Which of a network's tensors come from pretrained weights, and which do not."""

    taken: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Pretrained:
    """Weights to start from.

    Attributes:
        name: as the recipe says it.
        tensors: by the names of torchvision's networks, or of ours.
        labels: of the classification head, in class order; None if the file does not
            say.
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
        """Finds the tensors to copy: all of the same name and shape.

        A first layer of another shape keeps its random start, and so does the head if
        the labels differ.

        Args:
            network: what the weights are for.
            labels: of its head, in class order.

        Raises:
            TrainingError: less than half of the tensors fit: the network is another.
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
                "the recipe's model, so it is for another network; set the model that "
                "it was made for, or weights: none"
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
    """Loads the weights that a recipe names, or returns None for a random start.

    Args:
        recipe: names them.
        read: returns the content of the first file of these names in `FOLDER`.

    Raises:
        TrainingError: torchvision's weights cannot be downloaded, or a file has none.
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
            f"weights: imagenet cannot be downloaded: torchvision did not get {found} "
            f"for {model} ({error}). If this machine has no network, put a file with "
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
            f"weights: {name} is refused, since it is damaged or holds more than "
            f"tensors and plain values: {error}"
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
