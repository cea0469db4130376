"""The class mapping: the class index of each label, and its two checks."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from jersey_assets.text import count, shorten
from jersey_assets.verdict import Verdict

_TOLD = 20


def class_mapping(table: pd.DataFrame) -> dict[str, int]:
    """Numbers the labels of the train split, sorted as strings.

    Args:
        table: the validated table (`split`, `label`).

    Returns:
        label to class index, 0 to classes - 1; `""`, if present, is class 0.
    """
    labels = table.loc[table["split"] == "train", "label"].unique()
    return {label: index for index, label in enumerate(sorted(labels))}


def verdicts(mapping: Mapping[str, int], table: pd.DataFrame) -> list[Verdict]:
    """Checks a stored mapping against the table that it was made from."""
    indices = sorted(mapping.values())
    missing = _some(set(class_mapping(table)) - set(mapping))
    surplus = _some(set(mapping) - set(class_mapping(table)))
    return [
        Verdict(
            "mapping_is_contiguous",
            passed=indices == list(range(len(mapping))),
            message=f"{count(len(mapping), 'label has', 'labels have')} the class "
            f"indices 0 to {len(mapping) - 1}, each once"
            if indices == list(range(len(mapping)))
            else f"the class indices are {indices[:20]}",
        ),
        Verdict(
            "mapping_covers_train",
            passed=not missing and not surplus,
            message=f"labels of train without a class: {missing}; classes that train "
            f"does not have: {surplus}"
            if missing or surplus
            else f"of train {count(len(mapping), 'label has', 'labels each have')} a "
            "class",
            facts={"missing": missing, "surplus": surplus},
        ),
    ]


def _some(labels: set[str]) -> list[str]:
    """The first labels, for a message; long ones are cut."""
    return [shorten(label) for label in sorted(labels)[:_TOLD]]
