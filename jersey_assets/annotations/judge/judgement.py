"""The rules that compare rows: conflicts, leaks, duplicates, unknown and rare labels.

Each function looks at the rows that the ledger still keeps, sets some aside or warns
about them, and names the other row in each finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jersey_assets.annotations.disk.listing import SPLIT_FOLDERS, SPLITS
from jersey_assets.annotations.judge import near_copies
from jersey_assets.annotations.judge.findings import RESOLVED
from jersey_assets.annotations.judge.ledger import Ledger
from jersey_assets.annotations.lines.jsonl import Fault
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.rules import Rules
from jersey_assets.text import count, shorten

_LEADING_ZERO = re.compile("0+[1-9][0-9]*")
_NAMED = 3
"""The most contradicting rows that a finding names."""

_NEAREST = 32
"""How many near copies of a valid or test crop are compared, nearest hash first."""

_MIN_CORRELATION = 0.92
"""Grey thumbnails of copies have at least this correlation."""


def set_conflicts_aside(ledger: Ledger, rules: Rules) -> None:
    """Set aside the rows of each image that has two labels.

    An image is a file, in any split, or the same pixels within one split; the same
    pixels in two splits are a leak.
    """
    labelled = np.flatnonzero((ledger.label >= 0) & (ledger.crop >= 0))
    _set_conflicts_aside(ledger, rules, labelled, ledger.crop[labelled])
    copied = _are_shared(ledger.picture)
    copies = labelled[copied[ledger.crop[labelled]] & ~ledger.aside[labelled]]
    key = ledger.picture[ledger.crop[copies]] * len(SPLITS) + ledger.split[copies]
    _set_conflicts_aside(ledger, rules, copies, key)


def _set_conflicts_aside(
    ledger: Ledger, rules: Rules, rows: NDArray[np.int64], key: NDArray[Any]
) -> None:
    """Set aside rows whose key occurs with two labels; keys are in row order."""
    shared = _are_shared(key)
    rows, key = rows[shared], key[shared]
    _, key = np.unique(key, return_inverse=True)
    lowest = np.full(len(rows), np.iinfo(np.int32).max)
    highest = np.full(len(rows), -1)
    np.minimum.at(lowest, key, ledger.label[rows])
    np.maximum.at(highest, key, ledger.label[rows])
    several = lowest[key] != highest[key]
    for group in _groups(key[several], rows[several]):
        _set_conflict_aside(ledger, rules, group)


def _set_conflict_aside(ledger: Ledger, rules: Rules, group: list[int]) -> None:
    standing = [row for row in group if not ledger.aside[row]]
    numbers = {int(ledger.label[row]) for row in group if ledger.label_of(row) != '""'}
    kept = [row for row in standing if int(ledger.label[row]) in numbers]
    if rules.conflict_policy == "prefer_number" and len(numbers) == 1 and kept:
        for row in group:
            if int(ledger.label[row]) not in numbers:
                ledger.resolved += not ledger.aside[row]
                ledger.set_aside(row, _resolved(ledger, kept[0]))
        return
    first = {int(ledger.label[row]): row for row in reversed(group)}
    places = {
        label: f"{ledger.label_of(row)} at {ledger.place(row)}"
        for label, row in sorted(first.items(), key=lambda item: item[1])[: _NAMED + 1]
    }
    for row in group:
        others = [
            place for label, place in places.items() if label != ledger.label[row]
        ]
        more = len(first) - 1 - len(others[:_NAMED])
        message = (
            f"the image is labelled {ledger.label_of(row)} here and "
            f"{', '.join(others[:_NAMED])}{f' and {more} more' if more else ''}; "
            "keep only the correct row"
        )
        ledger.set_aside(
            row, Fault("label.conflict", message, "suffix", ledger.label_of(row))
        )


def _resolved(ledger: Ledger, kept: int) -> Fault:
    return Fault(
        "label.conflict",
        f"{RESOLVED}: {ledger.label_of(kept)} at {ledger.place(kept)} "
        "is kept; remove this row",
        "suffix",
        '""',
    )


def set_exact_leaks_aside(ledger: Ledger) -> None:
    """Keep identical pixels in one split only: test before valid before train.

    Flat crops are compared by file, not by pixels: two black frames are not a leak.
    """
    key = ledger.picture
    rows = np.flatnonzero(~ledger.aside)
    keys, split = key[ledger.crop[rows]], ledger.split[rows]
    last = np.full(len(key) and int(key.max()) + 1, -1)
    np.maximum.at(last, keys, split)
    staying = rows[split == last[keys]]
    first_keys, first = np.unique(key[ledger.crop[staying]], return_index=True)
    witness = dict(zip(first_keys.tolist(), staying[first].tolist(), strict=True))
    for row in rows[split < last[keys]].tolist():
        other = witness[int(key[ledger.crop[row]])]
        contradicts = ledger.label[row] != ledger.label[other]
        label = f", labelled {ledger.label_of(other)} there" if contradicts else ""
        ledger.set_aside(
            row,
            Fault(
                "leak.exact",
                f"the same pixels are in {SPLITS[ledger.split[other]]} at "
                f"{ledger.place(other)} ({ledger.path_of(other)}){label}; remove one",
                "image",
                ledger.path_of(row),
            ),
        )


def merge_duplicates(ledger: Ledger) -> None:
    """Merge rows with the same image and label into the first of them."""
    rows = np.flatnonzero(~ledger.aside)
    rows = rows[_are_shared(ledger.crop[rows])]
    key = ledger.crop[rows].astype(np.int64) * len(SPLITS) + ledger.split[rows]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    firsts = rows[first[inverse]]
    for row, kept in zip(rows.tolist(), firsts.tolist(), strict=True):
        if row != kept:
            ledger.merged[row] = True
            message = (
                f"the same image and label are at {ledger.place(kept)}; remove one"
            )
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
        message = f"train has no row labelled {label}; add some or remove this row"
        ledger.set_aside(row, Fault("label.unknown", message, "suffix", label))


def warn_of_rare_labels(ledger: Ledger, rules: Rules) -> None:
    """Warn of each train row whose label has too few images."""
    rows = np.flatnonzero(ledger.kept & (ledger.split == 0))
    counts = np.bincount(ledger.label[rows], minlength=len(ledger.labels))
    for row in rows[counts[ledger.label[rows]] < rules.rare_below].tolist():
        label, number = ledger.label_of(row), counts[ledger.label[row]]
        message = (
            f"train has {number} of {label}, fewer than {rules.rare_below}; add more"
        )
        ledger.warn(row, Fault("label.rare", message, "suffix", label))


def warn_of_leading_zeros(ledger: Ledger) -> None:
    """Warn of numbers such as 07; 0 and 00 are distinct numbers."""
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
        message = "the crop is one even colour; is it the right file?"
        ledger.warn(row, Fault("image.flat", message, "image", ledger.path_of(row)))


def warn_of_near_leaks(ledger: Ledger, progress: Progress) -> None:
    """Warn of rows whose picture is almost the same as one in a later split."""
    for split in range(len(SPLITS) - 1):
        left = _comparable(ledger, ledger.split == split)
        right = _comparable(ledger, ledger.split > split)
        if not len(left) or not len(right):
            continue
        progress.say(f"looking for copies of {SPLITS[split]} crops in other splits")
        for row, other, correlation in _similar_rows(ledger, left, right):
            message = (
                f"almost the same picture is in {SPLITS[ledger.split[other]]} at "
                f"{ledger.place(other)} ({ledger.path_of(other)}, correlation "
                f"{correlation:.2f}); are both from one moment of one game?"
            )
            ledger.warn(row, Fault("leak.near", message, "image", ledger.path_of(row)))


def _comparable(ledger: Ledger, which: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return kept rows whose difference hash is meaningful."""
    sharp = np.append(~ledger.probed["dull"], False)
    return np.flatnonzero(ledger.kept & which & sharp[ledger.crop])


def _similar_rows(
    ledger: Ledger, left: NDArray[np.int64], right: NDArray[np.int64]
) -> Iterator[tuple[int, int, float]]:
    """Yield each left row once, with the right row that it resembles most.

    Hashes find the candidates and thumbnails decide; both come from the probe, so
    nothing is decoded again.
    """
    hashes = ledger.probed["dhash"][ledger.crop]
    pairs = near_copies.nearest_pairs(hashes[right], hashes[left], _NEAREST)
    pairs = np.column_stack((left[pairs[:, 1]], right[pairs[:, 0]]))
    alike = _correlation(ledger.probed["thumb"], ledger.crop[pairs])
    order = np.lexsort((-alike, pairs[:, 0]))
    order = order[alike[order] >= _MIN_CORRELATION]
    _, first = np.unique(pairs[order, 0], return_index=True)
    for best in order[first].tolist():
        yield int(pairs[best, 0]), int(pairs[best, 1]), float(alike[best])


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
    """Record each split that training needs and that has no row left.

    Args:
        ledger: the rows.
        top: names of the folders in the dataset's root.
    """
    names = {
        split: [name for name, of in SPLIT_FOLDERS.items() if of == split]
        for split in SPLITS
    }
    for number, split in enumerate(SPLITS[:2]):
        rows = ledger.split == number
        if (ledger.kept & rows).any():
            continue
        if rows.any():
            number = int(np.count_nonzero(rows))
            what = count(number, "row is set aside", "rows are all set aside")
            what += "; correct what the findings say"
        elif folder := next((name for name in names[split] if name in top), None):
            what = f"{folder}/ has no JSONL rows; add annotations"
        else:
            seen = shorten(", ".join(sorted(top))) or "nothing"
            what = f"there is no folder {split}/ (the root holds {seen}); add it"
        ledger.reading.findings.add_dataset(split, f"dataset.no_{split}", what)


def note_single_class(ledger: Ledger) -> None:
    """Record that train has only one label, so that there is nothing to learn."""
    labels = np.unique(ledger.label[ledger.kept & (ledger.split == 0)])
    if len(labels) == 1:
        label = shorten(ledger.labels[labels[0]])
        ledger.reading.findings.add_dataset(
            "train",
            "dataset.single_class",
            f'every train row is labelled "{label}"; add rows with other labels',
        )


def _are_shared(key: NDArray[Any]) -> NDArray[np.bool_]:
    """Say for each row whether another one has the same key (a small number)."""
    shared: NDArray[np.bool_] = np.bincount(key)[key] > 1
    return shared


def _groups(key: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield the rows of each key, in the order in which they were read."""
    order = np.argsort(key, kind="stable")
    edges = np.flatnonzero(np.diff(key[order])) + 1
    for group in np.split(rows[order], edges):
        if len(group):
            yield group.tolist()
