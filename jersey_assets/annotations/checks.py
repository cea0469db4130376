"""The checks of validated_annotations: budget, conflicts, leaks, splits, imbalance.

Reads the tables of a `Validation` and nothing else, so the check that Dagster runs on
the stored tables says the same as the validation that wrote them.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from jersey_assets.annotations.disk.listing import SPLITS
from jersey_assets.annotations.judge.findings import RESOLVED
from jersey_assets.annotations.result import Validation, place
from jersey_assets.annotations.rules import Rules
from jersey_assets.text import count, readable, shorten
from jersey_assets.verdict import Verdict

_SHOWN = 5
_LABELS_SHOWN = 20
_OWNED = ("dataset.no_train", "dataset.no_valid")


def verdicts(validation: Validation, rules: Rules) -> list[Verdict]:
    """Run all checks on a validated dataset.

    Args:
        validation: the tables; `summary` may still lack its outcome.
        rules: the budget and the thresholds.

    Returns:
        rejected_rows_within_budget, no_conflicting_labels, labels_known_in_train,
        no_split_leakage and every_split_has_rows (errors), enough_images_per_class and
        class_imbalance (warnings), in this order.
    """
    return [
        _rejected_rows_within_budget(validation, rules),
        _no_conflicting_labels(validation, rules),
        _labels_known_in_train(validation, rules),
        _no_split_leakage(validation, rules),
        _every_split_has_rows(validation),
        _enough_images_per_class(validation, rules),
        _class_imbalance(validation, rules),
    ]


def _rejected_rows_within_budget(validation: Validation, rules: Rules) -> Verdict:
    summary = validation.summary
    aside = summary["rejected"] - summary["resolved"]
    budget = rules.budget_rows(summary["rows"])
    found = validation.rejected
    whole = found[(found["line"] == 0) & ~found["reason"].isin(_OWNED)]
    message = (
        f"{aside:,} of {count(summary['rows'], 'row')} set aside; the budget "
        f"allows {budget:,}{_reasons(found)}"
    )
    if summary["resolved"]:
        message += f"; the conflict policy set aside {summary['resolved']} more"
    if len(whole):
        message = f"{_first(whole)}. {message}"
    elif aside:
        message += f". {_first(found)}"
    return Verdict(
        "rejected_rows_within_budget",
        aside <= budget and whole.empty,
        message,
        facts={
            "rows": summary["rows"],
            "rejected": summary["rejected"],
            "resolved": summary["resolved"],
            "budget": budget,
            "whole_files_or_splits": len(whole),
        },
    )


def _no_conflicting_labels(validation: Validation, rules: Rules) -> Verdict:
    found = _with_reason(validation.rejected, "label.conflict")
    opened = found[~found["message"].str.startswith(RESOLVED)]
    resolved = validation.summary["resolved"]
    budget = rules.budget_rows(validation.summary["rows"])
    images = opened["image"].nunique()
    message = (
        f"{count(images, 'image has', 'images have')} two labels "
        f"({count(len(opened), 'row')}; the budget allows {budget:,})"
    )
    if resolved:
        message += f"; prefer_number resolved {count(resolved, 'more row')}"
    return _within("no_conflicting_labels", opened, budget, message, resolved=resolved)


def _labels_known_in_train(validation: Validation, rules: Rules) -> Verdict:
    found = _with_reason(validation.rejected, "label.unknown")
    budget = rules.budget_rows(validation.summary["rows"])
    unknown = sorted(shorten(str(label)) for label in found["label"].unique())
    labels = ", ".join(f'"{label}"' for label in unknown[:_LABELS_SHOWN])
    if len(unknown) > _LABELS_SHOWN:
        labels += f" and {len(unknown) - _LABELS_SHOWN} more"
    rows = count(
        len(found), "valid or test row has a label", "valid or test rows have labels"
    )
    message = f"{rows} that train does not have"
    message += f" ({labels}); the budget allows {budget:,}" if labels else ""
    return _within("labels_known_in_train", found, budget, message)


def _no_split_leakage(validation: Validation, rules: Rules) -> Verdict:
    found = _with_reason(validation.rejected, "leak.exact")
    near = _with_reason(validation.warnings, "leak.near")
    budget = rules.budget_rows(validation.summary["rows"])
    message = (
        f"{count(len(found), 'row shows', 'rows show')} the same pixels as a later "
        f"split (the budget allows {budget:,}); almost the same: {len(near)}"
    )
    if found.empty and len(near):
        message += f". {_first(near)}"
    return _within("no_split_leakage", found, budget, message, near=len(near))


def _every_split_has_rows(validation: Validation) -> Verdict:
    found = validation.rejected[validation.rejected["reason"].isin(_OWNED)]
    kept = {split: validation.summary["splits"][split]["kept"] for split in SPLITS}
    counts = ", ".join(f"{split} {number}" for split, number in kept.items())
    message = f"rows kept: {counts}"
    if len(found):
        message += f". {_first(found)}"
    return Verdict("every_split_has_rows", found.empty, message, facts=kept)


def _enough_images_per_class(validation: Validation, rules: Rules) -> Verdict:
    counts = _train_counts(validation)
    rare = counts[counts < rules.rare_below].sort_index()
    message = f"{len(rare):,} of {count(len(counts), 'label')} have fewer than "
    message += f"{rules.rare_below} train images"
    if len(rare):
        shown = (f'"{shorten(str(label))}" {n}' for label, n in rare.head(10).items())
        message += f": {', '.join(shown)}{'' if len(rare) <= 10 else ', …'}"
    facts = {"labels": len(counts), "rare": len(rare), "rare_below": rules.rare_below}
    return Verdict("enough_images_per_class", rare.empty, message, "warning", facts)


def _class_imbalance(validation: Validation, rules: Rules) -> Verdict:
    counts = _train_counts(validation)
    if counts.empty:
        return Verdict(
            "class_imbalance", True, "train has no rows", "warning", {"ratio": 0.0}
        )
    ratio = float(counts.max() / counts.min())
    most, fewest = (shorten(str(label)) for label in (counts.idxmax(), counts.idxmin()))
    message = (
        f'train has {ratio:.1f} times as many "{most}" ({counts.max()}) as '
        f'"{fewest}" ({counts.min()}); at most {rules.max_imbalance:g} is expected'
    )
    return Verdict(
        "class_imbalance",
        ratio <= rules.max_imbalance,
        message,
        "warning",
        {"ratio": ratio, "most": int(counts.max()), "fewest": int(counts.min())},
    )


def _train_counts(validation: Validation) -> pd.Series[int]:
    table = validation.validated
    return table.loc[table["split"] == "train", "label"].value_counts()


def _with_reason(found: pd.DataFrame, reason: str) -> pd.DataFrame:
    return found[found["reason"] == reason]


def _within(
    name: str, found: pd.DataFrame, budget: int, message: str, **facts: Any
) -> Verdict:
    """Make the verdict of a check that has the whole budget to itself."""
    if len(found):
        message += f". {_first(found)}"
    facts = {"rows": len(found), "budget": budget, **facts}
    return Verdict(name, len(found) <= budget, message, facts=facts)


def _first(found: pd.DataFrame) -> str:
    """Name the first findings by file and line."""
    head = found.head(_SHOWN)
    shown = [
        f"{place(file, line)}: {message}"
        for file, line, message in zip(
            head["file"], head["line"], head["message"], strict=True
        )
    ]
    more = len(found) - len(shown)
    return readable(" | ".join(shown)) + (f" | and {more} more" if more else "")


def _reasons(found: pd.DataFrame) -> str:
    counts = found["reason"].value_counts().sort_index()
    text = ", ".join(f"{reason} {number}" for reason, number in counts.items())
    return f" ({text})" if text else ""
