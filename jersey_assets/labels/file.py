"""Writes and reads `labels_mapping.json`: labels, class indices and normalization.

In `class_mapping` it holds labels and classes; beside a model it also says how pixels
are normalized. Consumers of other trainers' models read the same keys. Imports the
standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jersey_assets.files import read_regular
from jersey_assets.text import shorten

LABELS_FILE = "labels_mapping.json"
_MAX_BYTES = 2**20


class LabelsError(ValueError):
    """A labels file that cannot be used; the message says why."""


@dataclass(frozen=True)
class Normalization:
    """Network input is `(pixel / 255 - mean) / std`, channel by channel.

    Attributes:
        mean: channel means on the 0..1 scale, RGB.
        std: channel standard deviations on the 0..1 scale, RGB.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class LabelsFile:
    """The content of a labels file.

    Attributes:
        classes: label to class index.
        normalization: of the model beside it; None in `class_mapping`.
    """

    classes: dict[str, int]
    normalization: Normalization | None = None


def write_labels(
    labels: Sequence[str], folder: Path, normalization: Normalization | None = None
) -> None:
    """Writes `labels_mapping.json`.

    Args:
        labels: the labels, in class order.
        folder: an existing folder that nobody reads yet.
        normalization: of the model beside it.
    """
    content: dict[str, Any] = {
        "num_classes": len(labels),
        "class_to_idx": {label: index for index, label in enumerate(labels)},
        "idx_to_class": {str(index): label for index, label in enumerate(labels)},
    }
    if normalization is not None:
        content["normalization"] = {
            "mean": list(normalization.mean),
            "std": list(normalization.std),
        }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / LABELS_FILE).write_text(text + "\n", "utf-8")


def read_labels(path: Path) -> LabelsFile:
    """Reads what `write_labels` wrote; never blocks on a FIFO.

    Raises:
        LabelsError: it is missing, not a regular file, not of this format, or its
            parts contradict each other; the message names the file.
    """
    try:
        content = json.loads(
            read_regular(path, _MAX_BYTES), object_pairs_hook=_without_repeats
        )
        return _checked(content)
    except OSError as error:
        raise LabelsError(f"{path.name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise LabelsError(f"{path.name}: {error}") from error


def read_classes(folder: Path) -> dict[str, int]:
    """Reads label to class index from a folder's labels file; see `read_labels`."""
    return read_labels(folder / LABELS_FILE).classes


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _checked(content: Any) -> LabelsFile:
    if not isinstance(content, dict):
        raise ValueError("not a JSON object with num_classes, class_to_idx, …")
    classes = content.get("class_to_idx")
    if not isinstance(classes, dict) or {type(v) for v in classes.values()} - {int}:
        raise ValueError('"class_to_idx" is not an object from label to class index')
    inverse = {str(index): label for label, index in classes.items()}
    if content.get("idx_to_class") != inverse:
        raise ValueError(
            '"idx_to_class" is not the inverse of "class_to_idx", with the class '
            "indices as strings"
        )
    count = content.get("num_classes")
    if type(count) is not int or count != len(classes):
        said = shorten(json.dumps(count))
        raise ValueError(f'"num_classes" is {said}, "class_to_idx" has {len(classes)}')
    if "normalization" not in content:
        return LabelsFile(classes)
    return LabelsFile(classes, _normalization(content["normalization"]))


def _normalization(content: Any) -> Normalization:
    parts = content if isinstance(content, dict) else {}
    mean, std = parts.get("mean"), parts.get("std")
    for values in (mean, std):
        if (
            not isinstance(values, list)
            or len(values) != 3
            or any(type(v) not in (int, float) for v in values)
        ):
            raise ValueError('"normalization" needs three numbers as mean and as std')
    return Normalization(tuple(map(float, mean or ())), tuple(map(float, std or ())))
