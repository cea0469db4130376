"""Judgements over all rows together: conflicts, leaks, duplicates, unknown labels.

Each function looks at the rows that still stand in the ledger, sets aside or warns
about some, and says in each finding which other row it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jersey_assets.annotations import leakage
from jersey_assets.annotations.files import SPLITS
from jersey_assets.annotations.jsonl import Fault, shorten
from jersey_assets.annotations.ledger import Ledger
from jersey_assets.annotations.probe import thumbnails
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.rules import Rules

_LEADING_ZERO = re.compile("0+[1-9][0-9]*")
_NEAREST = 32
"""Near copies of one valid or test crop that are looked at, nearest hash first."""

_MIN_CORRELATION = 0.9
"""Grey 32 x 32 thumbnails of copies correlate at least so much."""


def set_conflicts_aside(ledger: Ledger, rules: Rules) -> None:
    """Set aside the rows of each image that carries two labels, over all splits."""
    rows = np.flatnonzero((ledger.label >= 0) & (ledger.crop >= 0))
    rows = rows[_are_shared(ledger.crop[rows])]
    crop, label = ledger.crop[rows], ledger.label[rows]
    lowest = np.full(len(ledger.paths), np.iinfo(np.int32).max)
    highest = np.full(len(ledger.paths), -1)
    np.minimum.at(lowest, crop, label)
    np.maximum.at(highest, crop, label)
    rows = rows[lowest[crop] != highest[crop]]
    for group in _groups(ledger.crop[rows], rows):
        _set_conflict_aside(ledger, rules, group)


def _set_conflict_aside(ledger: Ledger, rules: Rules, group: list[int]) -> None:
    first = {ledger.labels[ledger.label[row]]: row for row in reversed(group)}
    numbers = [label for label in first if label]
    if rules.conflict_policy == "prefer_number" and "" in first and len(numbers) == 1:
        kept = first[numbers[0]]
        for row in group:
            if ledger.label[row] != ledger.label[kept]:
                ledger.set_aside(row, _resolved(ledger, kept))
                ledger.resolved += 1
        return
    for row in group:
        others = [
            f"{ledger.label_of(other)} at {ledger.place(other)}"
            for other in sorted(first.values())
            if ledger.label[other] != ledger.label[row]
        ]
        message = (
            f"the image is labelled {ledger.label_of(row)} here and "
            f"{', '.join(others)}; keep the row that is right"
        )
        ledger.set_aside(
            row, Fault("label.conflict", message, "suffix", ledger.label_of(row))
        )


def _resolved(ledger: Ledger, kept: int) -> Fault:
    return Fault(
        "label.conflict",
        f"resolved by prefer_number: {ledger.label_of(kept)} at {ledger.place(kept)} "
        "is kept; remove this row",
        "suffix",
        '""',
    )


def set_exact_leaks_aside(ledger: Ledger) -> None:
    """Keep identical pixels in one split only: test before valid before train.

    Flat crops are compared by file, not by pixels: two black frames are no leak.
    """
    key, _ = pd.factorize(np.array(ledger.probed["pixels"].tolist(), object))
    flat = np.flatnonzero(ledger.probed["flat"])
    key[flat] = len(key) + flat
    rows = np.flatnonzero(~ledger.aside)
    keys, split = key[ledger.crop[rows]], ledger.split[rows]
    last = np.full(2 * len(key), -1)
    np.maximum.at(last, keys, split)
    staying = rows[split == last[keys]]
    first_keys, first = np.unique(key[ledger.crop[staying]], return_index=True)
    witness = dict(zip(first_keys.tolist(), staying[first].tolist(), strict=True))
    for row in rows[split < last[keys]].tolist():
        other = witness[int(key[ledger.crop[row]])]
        ledger.set_aside(
            row,
            Fault(
                "leak.exact",
                f"the same pixels stand in {SPLITS[ledger.split[other]]} at "
                f"{ledger.place(other)} ({ledger.path_of(other)}); remove one",
                "image",
                ledger.path_of(row),
            ),
        )


def merge_duplicates(ledger: Ledger) -> None:
    """Merge rows that say the same of the same image into the first of them."""
    rows = np.flatnonzero(~ledger.aside)
    rows = rows[_are_shared(ledger.crop[rows])]
    key = ledger.crop[rows].astype(np.int64) * len(SPLITS) + ledger.split[rows]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    firsts = rows[first[inverse]]
    for row, kept in zip(rows.tolist(), firsts.tolist(), strict=True):
        if row != kept:
            ledger.merged[row] = True
            message = f"says the same as {ledger.place(kept)}; remove one"
            ledger.warn(row, Fault("label.duplicate", message, "image"))


def set_unknown_labels_aside(ledger: Ledger) -> None:
    """Set aside valid and test rows whose label no train row has."""
    kept = ledger.kept
    known = np.zeros(len(ledger.labels) + 1, bool)
    known[ledger.label[kept & (ledger.split == 0)]] = True
    if not known.any():
        return
    for row in np.flatnonzero(kept & ~known[ledger.label]).tolist():
        label = ledger.label_of(row)
        message = f"train has no row labelled {label}; add some to it or remove this"
        ledger.set_aside(row, Fault("label.unknown", message, "suffix", label))


def warn_of_rare_labels(ledger: Ledger, rules: Rules) -> None:
    """Warn of each train row whose label has too few images."""
    rows = np.flatnonzero(ledger.kept & (ledger.split == 0))
    counts = np.bincount(ledger.label[rows], minlength=len(ledger.labels))
    for row in rows[counts[ledger.label[rows]] < rules.rare_below].tolist():
        label, count = ledger.label_of(row), counts[ledger.label[row]]
        message = (
            f"train has {count} of {label}, fewer than {rules.rare_below}; add more"
        )
        ledger.warn(row, Fault("label.rare", message, "suffix", label))


def warn_of_leading_zeros(ledger: Ledger) -> None:
    """Warn of numbers such as 07; 0 and 00 are numbers of their own."""
    odd = np.array([bool(_LEADING_ZERO.fullmatch(label)) for label in ledger.labels])
    if not odd.any():
        return
    for row in np.flatnonzero(ledger.kept & odd[ledger.label]).tolist():
        label = ledger.label_of(row)
        message = f"{label} has a leading zero; is it on the jersey?"
        ledger.warn(row, Fault("label.leading_zero", message, "suffix", label))


def warn_of_flat_crops(ledger: Ledger) -> None:
    """Warn of crops in which there is nothing to see."""
    rows = np.flatnonzero(ledger.kept)
    for row in rows[ledger.probed["flat"][ledger.crop[rows]]].tolist():
        message = "the crop shows one even colour; is it the right file?"
        ledger.warn(row, Fault("image.flat", message, "image", ledger.path_of(row)))


def warn_of_near_leaks(
    ledger: Ledger, root: str, rules: Rules, progress: Progress
) -> None:
    """Warn of rows whose picture almost stands in a later split."""
    for split in range(len(SPLITS) - 1):
        left = _comparable(ledger, ledger.split == split)
        right = _comparable(ledger, ledger.split > split)
        if not len(left) or not len(right):
            continue
        progress.say(f"looking for copies of {SPLITS[split]} crops in other splits")
        pairs = _similar_pairs(ledger, left, right)
        for row, other, correlation in _confirm(ledger, root, rules, pairs):
            message = (
                f"almost the same picture stands in {SPLITS[ledger.split[other]]} at "
                f"{ledger.place(other)} ({ledger.path_of(other)}, correlation "
                f"{correlation:.2f}); are both from one moment of one game?"
            )
            ledger.warn(row, Fault("leak.near", message, "image", ledger.path_of(row)))


def _comparable(ledger: Ledger, which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return kept rows whose difference hash says something."""
    sharp = np.append(~ledger.probed["dull"], False)
    return np.flatnonzero(ledger.kept & which & sharp[ledger.crop])


def _similar_pairs(
    ledger: Ledger, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Find rows whose hashes and thumbnails are close: int64 [n, 2]."""
    hashes = ledger.probed["dhash"][ledger.crop]
    pairs = leakage.nearest_pairs(hashes[right], hashes[left], _NEAREST)
    pairs = np.column_stack((left[pairs[:, 1]], right[pairs[:, 0]]))
    alike = _correlation(ledger.probed["thumb"], ledger.crop[pairs])
    return pairs[alike >= _MIN_CORRELATION]


def _confirm(
    ledger: Ledger, root: str, rules: Rules, pairs: NDArray[np.int64]
) -> Iterator[tuple[int, int, float]]:
    """Yield each left row once, with the right row that it resembles most."""
    rows, positions = np.unique(pairs, return_inverse=True)
    small = thumbnails(root, [ledger.path_of(row) for row in rows], rules)
    correlation = _correlation(small, positions.reshape(-1, 2))
    best: dict[int, tuple[int, float]] = {}
    for (row, other), value in zip(pairs.tolist(), correlation.tolist(), strict=True):
        if value >= _MIN_CORRELATION and value > best.get(row, (0, 0.0))[1]:
            best[row] = other, value
    for row, (other, value) in best.items():
        yield row, other, value


def _correlation(
    pictures: NDArray[np.uint8], pairs: NDArray[Any]
) -> NDArray[np.float32]:
    """Correlate pairs of pictures [n, values], a few thousand at a time."""
    parts = []
    for part in np.array_split(pairs, len(pairs) // 10_000 + 1):
        left, right = _standardized(pictures[part[:, 0]]), pictures[part[:, 1]]
        parts.append(np.einsum("ij,ij->i", left, _standardized(right)))
    return np.concatenate(parts)


def _standardized(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Shift and scale pictures, so that a dot product of two is their correlation."""
    values = pictures.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return values


def note_missing_splits(ledger: Ledger, top: set[str]) -> None:
    """Record that a split which training needs has no row left.

    Args:
        ledger: the rows.
        top: names of the folders in the dataset's root.
    """
    for number, split in enumerate(SPLITS[:2]):
        rows = ledger.split == number
        if (ledger.kept & rows).any():
            continue
        if rows.any():
            what = f"all {np.count_nonzero(rows)} rows are set aside; correct them"
        elif split in top:
            what = f"{split}/ holds no JSONL row; add annotations"
        else:
            seen = shorten(", ".join(sorted(top))) or "nothing"
            what = f"there is no folder {split}/ (the root holds {seen}); add it"
        ledger.reading.findings.add_dataset(split, f"dataset.no_{split}", what)


def note_single_class(ledger: Ledger) -> None:
    """Record that train has one label only, so that there is nothing to tell apart."""
    labels = np.unique(ledger.label[ledger.kept & (ledger.split == 0)])
    if len(labels) == 1:
        label = ledger.labels[labels[0]]
        ledger.reading.findings.add_dataset(
            "train",
            "dataset.single_class",
            f'every train row is labelled "{label}"; add rows with other labels',
        )


def _are_shared(crop: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Say of each row's crop whether another row shows it, too."""
    shared: NDArray[np.bool_] = np.bincount(crop)[crop] > 1
    return shared


def _groups(key: NDArray[np.int32], rows: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield the rows of each key, in the order in which they were read."""
    order = np.argsort(key, kind="stable")
    edges = np.flatnonzero(np.diff(key[order])) + 1
    for group in np.split(rows[order], edges):
        if len(group):
            yield group.tolist()
