"""The checkpoint file: EMA and raw weights, labels, normalization and recipe.

`state_dict` holds the averaged weights under the network's own parameter names, so
that `torchvision` users can load it; `current_model_state` holds the raw ones. The file
is read with `weights_only=True`: nothing in it can run.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from jersey_assets.files import explain_write_failure, read_regular
from jersey_assets.text import count
from jersey_assets.training.data.crops import three_channels
from jersey_assets.training.network.architectures import build_model
from jersey_assets.training.recipe import Recipe

_MOST_BYTES = 16 * 1024**3


class CheckpointError(ValueError):
    """A checkpoint file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to run a trained model.

    Attributes:
        recipe: how it was trained.
        labels: the labels, in class order.
        mean: channel means that inputs are normalized with, on the 0..1 scale.
        std: channel standard deviations, likewise.
        ema_step: optimizer steps that the averaged weights have seen.
        valid_top1: share of the valid split that the averaged weights read correctly.
        valid_loss: their mean cross-entropy on the valid split.
        state_dict: the averaged (EMA) weights.
        raw_state_dict: the weights before averaging, of the same step.
        sha256: digest of the file's bytes, empty before it is written.
    """

    recipe: Recipe
    labels: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    ema_step: int
    valid_top1: float
    valid_loss: float
    state_dict: dict[str, Tensor]
    raw_state_dict: dict[str, Tensor]
    sha256: str = ""

    def __post_init__(self) -> None:
        """Refuses a recipe without an input size."""
        if not self.recipe.image_size:
            raise ValueError("its recipe has no image_size")

    @property
    def image_size(self) -> int:
        """Side of the square input, px."""
        assert self.recipe.image_size
        return self.recipe.image_size

    def build_model(self, *, raw: bool = False) -> nn.Module:
        """Builds the network with the averaged weights, for inference on the CPU.

        Args:
            raw: take the weights before averaging instead.

        Returns:
            A float32 module in evaluation mode, from normalized float32 [n, 3, S, S]
            to logits float32 [n, classes].

        Raises:
            CheckpointError: the weights do not fit the recipe's network.
        """
        model = build_model(self.recipe, self.labels)
        try:
            model.load_state_dict(self.raw_state_dict if raw else self.state_dict)
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights do not fit {self.recipe.model} with "
                f"{count(len(self.labels), 'class', 'classes')}: {error}"
            ) from error
        return model.eval()

    def save(self, path: Path) -> None:
        """Writes the checkpoint to a path that nobody reads yet."""
        content = {
            "state_dict": self.state_dict,
            "current_model_state": self.raw_state_dict,
            "recipe": self.recipe.model_dump(mode="json"),
            "labels": list(self.labels),
            "mean": list(self.mean),
            "std": list(self.std),
            "ema_step": self.ema_step,
            "valid_top1": self.valid_top1,
            "valid_loss": self.valid_loss,
        }
        with explain_write_failure(path):
            torch.save(content, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint that `Checkpoint.save` wrote.

    Raises:
        CheckpointError: the file cannot be read safely or is incomplete.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    try:
        content: dict[str, Any] = torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=True
        )
        return Checkpoint(
            recipe=Recipe.model_validate(content["recipe"]),
            labels=tuple(content["labels"]),
            mean=three_channels(content["mean"]),
            std=three_channels(content["std"]),
            ema_step=content["ema_step"],
            valid_top1=content["valid_top1"],
            valid_loss=content["valid_loss"],
            state_dict=content["state_dict"],
            raw_state_dict=content["current_model_state"],
            sha256=hashlib.sha256(data).hexdigest(),
        )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, since it holds more than tensors and plain values: "
            f"{error}"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a complete checkpoint: {error}") from error
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of this project: {error}"
        ) from error
