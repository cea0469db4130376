"""Validates a dataset: `validate` reads and judges every row below a root.

Reads all rows, looks up and probes their images, judges rows against each other, and
closes the ledger: rows read = kept + set aside + merged. Nothing outside the root is
opened, and nothing is silently repaired.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jersey_assets.annotations import checks
from jersey_assets.annotations.disk.confined import real_root
from jersey_assets.annotations.disk.listing import SPLITS
from jersey_assets.annotations.disk.lookup import look_up
from jersey_assets.annotations.images.measure import SIGNATURE
from jersey_assets.annotations.images.measure_pool import probe_all
from jersey_assets.annotations.judge import judgement, tables
from jersey_assets.annotations.judge.ledger import Ledger, open_ledger
from jersey_assets.annotations.lines.blocks import TEXT
from jersey_assets.annotations.lines.jsonl import Fault
from jersey_assets.annotations.lines.rows import read_rows
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.reasons import WARNINGS
from jersey_assets.annotations.result import Validation
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.schema import validated_schema
from jersey_assets.text import shorten, shorten_path

_FILES_COUNTED = 100


def validate(
    root: Path,
    rules: Rules,
    progress: Callable[[str], None] | None = None,
    cache: Path | None = None,
) -> Validation:
    """Judge every annotation below a dataset's root.

    Args:
        root: folder that holds train/, valid/ (or val/) and, optionally, test/.
        rules: what is accepted.
        progress: called with a sentence, at most once a second.
        cache: a file that keeps the measurements of images, so that validating again
            measures only changed ones; safe to delete, created if it is missing.

    Raises:
        AnnotationError: the root is missing or not a folder; everything else that is
            wrong becomes a finding.
    """
    said = Progress(progress)
    base = real_root(root)
    ledger = open_ledger(read_rows(root, rules, said))
    _enter_crops(ledger, base, rules, said, cache)
    judgement.set_conflicts_aside(ledger, rules)
    judgement.set_exact_leaks_aside(ledger)
    judgement.merge_duplicates(ledger)
    judgement.set_unknown_labels_aside(ledger)
    judgement.warn_of_rare_labels(ledger, rules)
    judgement.warn_of_leading_zeros(ledger)
    judgement.warn_of_flat_crops(ledger)
    judgement.warn_of_near_leaks(ledger, said)
    judgement.note_missing_splits(ledger, set(os.listdir(base)))
    judgement.note_single_class(ledger)
    ledger.close()
    return _settle(ledger, rules)


def _enter_crops(
    ledger: Ledger, root: str, rules: Rules, progress: Progress, cache: Path | None
) -> None:
    """Find the real file behind each image path, probe it, set faulty rows aside."""
    found = look_up(root, ledger.images.to_pylist(), progress)
    _blame(ledger, ledger.image, ledger.images, found.faults)
    real = pa.array(found.real, TEXT).dictionary_encode()
    crop_of_image = np.append(pc.fill_null(real.indices, -1), -1).astype(np.int32)
    ledger.crop, ledger.paths = crop_of_image[ledger.image], real.dictionary
    signatures = np.zeros((len(ledger.paths), len(SIGNATURE)), np.int64)
    exists = crop_of_image[:-1] >= 0
    signatures[crop_of_image[:-1][exists]] = found.signatures[exists]
    paths = ledger.paths.to_pylist()
    probed = probe_all(root, paths, signatures, rules, progress, cache)
    ledger.probed = probed.values
    ledger.picture = _pictures(ledger.probed)
    faults = probed.faults | _shape_faults(ledger.probed, rules)
    _blame(ledger, ledger.crop, ledger.paths, faults)


def _pictures(probed: NDArray[np.void]) -> NDArray[np.int64]:
    """Number crops by their pixels; two black frames are not copies of each other."""
    hashes = pa.py_buffer(probed["pixels"].tobytes())
    column = pa.Array.from_buffers(pa.binary(32), len(probed), [None, hashes])
    indices = column.dictionary_encode().indices
    numbers: NDArray[np.int64] = indices.to_numpy().astype(np.int64)
    own = np.flatnonzero(probed["flat"] | (probed["width"] == 0))
    numbers[own] = len(probed) + np.arange(len(own))
    return numbers


def _blame(
    ledger: Ledger,
    codes: NDArray[np.int32],
    paths: pa.Array,
    faults: Mapping[int, tuple[str, str]],
) -> None:
    """Set the rows of faulty images aside."""
    faulty = np.zeros(len(paths) + 1, bool)
    faulty[list(faults)] = True
    for row in np.flatnonzero(faulty[codes]).tolist():
        reason, message = faults[int(codes[row])]
        path = str(paths[int(codes[row])])
        what = f"{shorten_path(path)}: {message}"
        ledger.set_aside(row, Fault(reason, what, "image", shorten(path)))


def _shape_faults(probed: NDArray[np.void], rules: Rules) -> dict[int, tuple[str, str]]:
    """Judge the sizes of the crops that could be decoded."""
    width, height = probed["width"], probed["height"]
    short, long = np.minimum(width, height), np.maximum(width, height)
    faults: dict[int, tuple[str, str]] = {}
    strip = np.flatnonzero(long > rules.max_aspect * short)
    small = np.flatnonzero((short < rules.min_side) & (short > 0))
    for position in strip.tolist():
        faults[position] = (
            "image.aspect",
            f"{width[position]} x {height[position]} pixels, a strip longer than "
            f"{rules.max_aspect:g} to 1; crop the number",
        )
    for position in small.tolist():
        faults[position] = (
            "image.too_small",
            f"{width[position]} x {height[position]} pixels, but each side needs "
            f"{rules.min_side} or more; use a larger crop",
        )
    return faults


def _settle(ledger: Ledger, rules: Rules) -> Validation:
    """Make the tables and the summary, and check the table against its schema."""
    validated = tables.validated_table(ledger)
    validated_schema(rules).validate(validated)
    findings = tables.findings_table(ledger)
    warning = findings["severity"] == "warning"
    draft = Validation(
        validated,
        findings[~warning].reset_index(drop=True),
        findings[warning].reset_index(drop=True),
        _summary(ledger, rules),
    )
    summary = {**draft.summary, "outcome": _outcome(draft, rules)}
    return replace(draft, summary=summary)


def _summary(ledger: Ledger, rules: Rules) -> dict[str, Any]:
    kept = ledger.kept
    return {
        "rows": len(kept),
        "kept": int(kept.sum()),
        "rejected": int(ledger.aside.sum()),
        "duplicates": int(ledger.merged.sum()),
        "resolved": ledger.resolved,
        "reasons": dict(sorted(ledger.reading.findings.counts.items())),
        "splits": {
            split: {
                "rows": int((ledger.split == number).sum()),
                "kept": int((kept & (ledger.split == number)).sum()),
            }
            for number, split in enumerate(SPLITS)
        },
        "files": len(ledger.reading.files),
        "by_file": _by_file(ledger),
        "fingerprint": ledger.reading.fingerprint,
        "conflict_policy": rules.conflict_policy,
        "rejected_budget": rules.rejected_budget,
    }


def _by_file(ledger: Ledger) -> dict[str, dict[str, int]]:
    """Count the rows per file; of many files, those with the most rows set aside."""
    files, file_of_row = ledger.reading.files, ledger.reading.table["file"].to_numpy()
    every = np.ones(len(file_of_row), bool)
    counts = {
        name: np.bincount(file_of_row[which], minlength=len(files))
        for name, which in (
            ("rows", every),
            ("kept", ledger.kept),
            ("set_aside", ledger.aside),
            ("merged", ledger.merged),
        )
    }
    worst = np.argsort(-counts["set_aside"], kind="stable")[:_FILES_COUNTED]
    return {
        files[number].path: {name: int(count[number]) for name, count in counts.items()}
        for number in worst.tolist()
    }


def _outcome(draft: Validation, rules: Rules) -> str:
    """Refuse the dataset exactly if a blocking check fails."""
    verdicts = checks.verdicts(draft, rules)
    if any(not v.passed and v.severity == "error" for v in verdicts):
        return "reject"
    if draft.summary["rejected"]:
        return "quarantine"
    if WARNINGS & draft.summary["reasons"].keys() or not all(
        v.passed for v in verdicts
    ):
        return "accept_with_warning"
    return "accept"
