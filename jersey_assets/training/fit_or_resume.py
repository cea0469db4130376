"""Runs or resumes a whole training: from input files to the result's files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.manifest import canonical_json
from jersey_assets.training.data.crops import (
    load_crops,
    load_drawn,
    natural_size,
    three_channels,
)
from jersey_assets.training.data.training_data import TrainingData
from jersey_assets.training.fit import Report, fit
from jersey_assets.training.network.pretrained import Pretrained
from jersey_assets.training.plan import Plan
from jersey_assets.training.recipe import Recipe
from jersey_assets.training.resume import remove_finished


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of a training, before any of its crops is decoded.

    Attributes:
        recipe: all settings.
        weights: what the network starts from, None for a random start.
        root: the dataset root.
        annotations: parquet file of the validated table.
        drawn: parquet file of drawn crops, which are added to train.
        mapping: label to class index, in class order.
        statistics: `mean` and `std` of the train crops' channels, on the 0..1 scale.
    """

    recipe: Recipe
    weights: Pretrained | None
    root: Path
    annotations: Path
    drawn: Path
    mapping: Mapping[str, int]
    statistics: Mapping[str, Sequence[float]]

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the result besides the dataset: recipe and weights."""
        settings = self.recipe.model_dump(mode="json")
        if self.weights:
            settings["weights_sha256"] = self.weights.digest()
        return settings

    @property
    def recipe_hash(self) -> str:
        """Digest of the settings, 12 hex digits."""
        return hashlib.sha256(canonical_json(self.settings)).hexdigest()[:12]

    def load(self) -> Plan:
        """Decodes the crops, at the recipe's size or the size of most of them.

        Raises:
            AnnotationError: an image has changed since it was validated.
            TrainingError: no batch can be made of the crops.
            OSError: a file cannot be read.
        """
        rows = pd.read_parquet(self.annotations)
        shown, judged = (rows[rows["split"] == split] for split in ("train", "valid"))
        size = self.recipe.image_size or natural_size(shown)
        train = load_crops(self.root, shown, self.mapping, size)
        train += load_drawn(pd.read_parquet(self.drawn), self.mapping, size)
        data = TrainingData(
            tuple(self.mapping),
            train,
            load_crops(self.root, judged, self.mapping, size),
            three_channels(self.statistics["mean"]),
            three_channels(self.statistics["std"]),
        )
        return Plan(self.recipe, data, self.weights)


def fit_or_resume(
    inputs: TrainingInputs, scratch: Path, report: Report, folder: Path
) -> None:
    """Trains, or resumes a training of the same inputs that was stopped.

    Args:
        inputs: of the training.
        scratch: folder for what outlives a run: interrupted trainings and the files
            of experiment loggers.
        report: called after each epoch.
        folder: where the files of the result go.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the next call resumes there.
        TrainingError: see `fit` and `TrainingInputs.load`.
        AnnotationError: an image has changed since it was validated.
    """
    training = fit(inputs.load(), report, _trainings(scratch), scratch / "logs")
    training.write(folder)


@contextmanager
def one_training(scratch: Path, run_id: str) -> Iterator[None]:
    """Waits for other trainings in `scratch` and keeps them out.

    Publish the result inside the block. When the block ends normally, the saved
    folders of finished trainings are removed; after an exception they stay, for the
    next try to resume.

    Args:
        scratch: as in `fit_or_resume`.
        run_id: names this training in the logs of waiting ones.
    """
    trainings = _trainings(scratch)
    with one_at_a_time(trainings.with_suffix(".lock"), run_id):
        yield
        remove_finished(trainings)


def _trainings(scratch: Path) -> Path:
    return scratch / "training"
