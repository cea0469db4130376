"""The metadata that the exporter writes: labels, preprocessing, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from jersey_assets.reader.file_metadata import PREFIX, RULES, ModelMetadata

if TYPE_CHECKING:
    from jersey_assets.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from; no prediction depends on it.

    Attributes:
        dataset_fingerprint: digest over the annotations and crops it was trained on.
        recipe_hash: digest of its training recipe.
        code_version: digest of the code that trained it.
        run_id: the Dagster run that exported it.
    """

    dataset_fingerprint: str
    recipe_hash: str
    code_version: str
    run_id: str


def describe(checkpoint: Checkpoint) -> ModelMetadata:
    """The metadata of a model that is exported from the checkpoint."""
    return ModelMetadata(
        labels=tuple(checkpoint.labels),
        mean=tuple(checkpoint.mean),
        std=tuple(checkpoint.std),
        image_size=checkpoint.image_size,
        ema_step=checkpoint.ema_step,
        checkpoint_sha256=checkpoint.sha256,
    )


def to_properties(metadata: ModelMetadata, provenance: Provenance) -> dict[str, str]:
    """Writes metadata as ONNX properties: string keys with a prefix, string values."""
    own = {
        "labels": json.dumps(metadata.labels),
        "mean": json.dumps(metadata.mean),
        "std": json.dumps(metadata.std),
        "image_size": str(metadata.image_size),
        "ema_step": str(metadata.ema_step),
        "checkpoint_sha256": metadata.checkpoint_sha256,
    }
    everything = {**own, **RULES, **asdict(provenance)}
    return {PREFIX + key: value for key, value in everything.items()}


def missing_provenance(properties: Mapping[str, str]) -> list[str]:
    """Names the missing properties of a model's provenance."""
    keys = [PREFIX + field.name for field in fields(Provenance)]
    return [key for key in keys if not properties.get(key)]


def mapping_of(labels: Sequence[str]) -> dict[str, int]:
    """Label to class index, as in `labels_mapping.json`."""
    return {label: index for index, label in enumerate(labels)}
