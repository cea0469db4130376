"""Reads a model file's metadata: its labels and its preprocessing.

The exporter writes it into the ONNX file, the contract compares it with the checkpoint,
and the predictor needs nothing else to turn a crop into a label. Imports the standard
library only.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from jersey_assets.text import shorten

PREFIX = "jersey."
RESIZE = "bilinear, stretched to a square"
DECODE = "RGB after EXIF transposition, alpha on black, 16-bit grey scaled to 8"
NORMALIZE = "(pixel / 255 - mean) / std"
# How a crop becomes the network's input; this version supports only these values.
RULES = {"decode": DECODE, "resize": RESIZE, "normalize": NORMALIZE}


class ModelError(ValueError):
    """A model file cannot be written, read or used; the message says why."""


@dataclass(frozen=True)
class ModelMetadata:
    """The part of a model's metadata that its predictions depend on.

    Attributes:
        labels: the labels, in class order.
        mean: channel means on the 0..1 scale.
        std: channel standard deviations on the 0..1 scale.
        image_size: side of the square input, px.
        ema_step: optimizer steps that the averaged weights have seen.
        checkpoint_sha256: digest of the checkpoint file.
    """

    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    ema_step: int
    checkpoint_sha256: str


def read_metadata(properties: Mapping[str, str]) -> ModelMetadata:
    """Reads a model's metadata, as `export.file_metadata` writes it.

    Raises:
        ModelError: a property is missing, malformed or requires preprocessing that
            this version does not support.
    """
    keys = [*(field.name for field in fields(ModelMetadata)), *RULES]
    missing = [PREFIX + key for key in keys if PREFIX + key not in properties]
    if missing:
        raise ModelError(f"the model's metadata has no {', '.join(missing)}")
    for key, rule in RULES.items():
        said = properties[PREFIX + key]
        if said != rule:
            raise ModelError(
                f"{PREFIX}{key} is {shorten(repr(said))}; "
                f"this version supports {rule!r}"
            )
    return ModelMetadata(
        labels=_labels(_parse(properties, "labels")),
        mean=_channels(properties, "mean", lowest=0.0),
        std=_channels(properties, "std", lowest=math.ulp(0.0)),
        image_size=_count(properties, "image_size", lowest=1),
        ema_step=_count(properties, "ema_step", lowest=0),
        checkpoint_sha256=properties[PREFIX + "checkpoint_sha256"],
    )


def _parse(properties: Mapping[str, str], key: str) -> Any:
    try:
        return json.loads(properties[PREFIX + key])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{PREFIX}{key} is not JSON: {error}") from error


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ModelError(f"{PREFIX}labels is not a list of strings")
    twice = [label for label, times in Counter(value).items() if times > 1]
    if not value or twice:
        raise ModelError(
            f"{PREFIX}labels is empty or has a label twice: "
            f"{shorten(repr(sorted(twice)))}"
        )
    return tuple(value)


def _channels(
    properties: Mapping[str, str], key: str, lowest: float
) -> tuple[float, ...]:
    value = _parse(properties, key)
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(_is_number(v) and lowest <= v <= 1.0 for v in value)
    ):
        raise ModelError(
            f"{PREFIX}{key} is {shorten(repr(value))}; expected three numbers on the "
            "0..1 scale"
        )
    return tuple(float(v) for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(properties: Mapping[str, str], key: str, lowest: int) -> int:
    text = properties[PREFIX + key]
    if not (text.isascii() and text.isdigit() and len(text) < 19) or int(text) < lowest:
        raise ModelError(
            f"{PREFIX}{key} is {shorten(repr(text))}; expected a whole number, "
            f"at least {lowest}"
        )
    return int(text)
