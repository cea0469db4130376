"""The plan of a training: recipe, data and starting weights; they determine it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from jersey_assets.storage.manifest import canonical_json
from jersey_assets.training.data.batches import make_loaders, rows_per_batch
from jersey_assets.training.data.crops import Crops
from jersey_assets.training.data.training_data import TrainingData
from jersey_assets.training.network.pretrained import Pretrained
from jersey_assets.training.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """A recipe with the data and the starting weights that it is applied to.

    Attributes:
        recipe: all settings; what it leaves to the data becomes a number here.
        data: of the training.
        weights: what the network starts from; without them it starts at random.
    """

    recipe: Recipe
    data: TrainingData
    weights: Pretrained | None = None

    def __post_init__(self) -> None:
        """Completes the recipe.

        Raises:
            ValueError: the recipe names weights and none are given, or the reverse.
            TrainingError: no batch can be made of the crops.
        """
        if (self.recipe.weights != "none") != (self.weights is not None):
            raise ValueError(f"weights: {self.recipe.weights} were not loaded")
        loader, _ = make_loaders(self.recipe, self.data.train, self.data.valid)
        complete = self.recipe.complete(self.data.image_size, len(loader))
        object.__setattr__(self, "recipe", complete)

    @property
    def epochs(self) -> int:
        """The largest number of epochs."""
        assert self.recipe.epochs
        return self.recipe.epochs

    @property
    def batch_size(self) -> int:
        """Crops in a training batch, of all devices together."""
        return rows_per_batch(self.recipe, self.data.train)

    @property
    def batches(self) -> int:
        """Training batches of an epoch."""
        return len(self.data.train) // self.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.epochs * math.ceil(self.batches / self.recipe.accumulate)

    def digests(self) -> dict[str, str]:
        """Digests, by name, of all that determines the training."""
        knobs = canonical_json(self.recipe.model_dump(mode="json"))
        return {
            "recipe": hashlib.sha256(knobs).hexdigest(),
            "data": self.data.digest(),
            "weights": self.weights.digest() if self.weights else "",
        }

    def store(self, path: Path) -> None:
        """Writes the plan for other processes of this training to load."""
        data = vars(self.data)
        splits = {name: vars(data[name]) for name in ("train", "valid")}
        content = {
            "recipe": self.recipe.model_dump(mode="json"),
            "data": data | splits,
            "weights": vars(self.weights) if self.weights else None,
        }
        torch.save(content, path)


def load_plan(path: Path) -> Plan:
    """Reads a plan that `Plan.store` wrote; its tensors are mapped from the file."""
    content = torch.load(path, mmap=True, weights_only=True)
    data, weights = content["data"], content["weights"]
    splits = {name: Crops(**data[name]) for name in ("train", "valid")}
    return Plan(
        Recipe.model_validate(content["recipe"]),
        TrainingData(**data | splits),
        Pretrained(**weights) if weights else None,
    )
