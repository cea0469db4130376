"""Verdict: the result of a check, and the list of blocking checks of each asset.

The graph turns verdicts into Dagster's check results and `jersey-assets` prints them,
so a check reads the same in the UI and in a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

BLOCKING: Mapping[str, tuple[str, ...]] = {
    "validated_annotations": (
        "rejected_rows_within_budget",
        "no_conflicting_labels",
        "labels_known_in_train",
        "no_split_leakage",
        "every_split_has_rows",
    ),
    "class_mapping": ("mapping_is_contiguous", "mapping_covers_train"),
    "trained_checkpoint": ("weights_are_finite", "checkpoint_holds_ema_weights"),
    "onnx_model": (
        "graph_is_valid",
        "output_is_logits",
        "batch_axis_is_dynamic",
        "weights_match_checkpoint",
        "labels_match_class_mapping",
    ),
    "parity_report": ("logits_within_tolerance", "top1_agrees", "batch_independent"),
    "released_model": ("better_than_one_answer",),
}
"""The checks of each asset that, when they fail, stop the assets depending on it."""


@dataclass(frozen=True)
class Verdict:
    """The result of one check.

    Attributes:
        name: the check's name, as its asset declares it in `graph/`.
        passed: whether the check passed.
        message: what was seen and what was expected, in a sentence or two.
        severity: of a failure: `error`, or `warning` if it stops nothing.
        facts: what was measured; JSON values only.
    """

    name: str
    passed: bool
    message: str
    severity: Literal["error", "warning"] = "error"
    facts: Mapping[str, Any] = field(default_factory=dict)
