"""Draws a whole sample dataset: splits, labels and annotations.

    out/{train,valid,test}/annotations.jsonl
    out/{train,valid,test}/crops/00000.jpg

Every crop has its own random generator, seeded by seed, split and index, and the order
of labels does not depend on how many are drawn: a dataset of 2,000 crops begins with
the same files as one of 1,000.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from jersey_assets.rendering.crops import render_crop
from jersey_assets.rendering.errors import RenderError

LABELS = (
    *("8", "2", "", "0", "11", "5", "7", "32", "3", "23", "1", "10", "9"),
    *("22", "4", "15", "12", "42", "30", "25", "34", "33", "00", "14", "21", "6"),
)
"""The labels drawn, most frequent first; the last is five times rarer than the first,
and still 23 of 1,200 rows."""

_JPEG_QUALITY = 92


def render_dataset(out: Path, train: int, valid: int, test: int, seed: int) -> None:
    """Draws train, valid and test splits of jersey-number crops.

    The same arguments and installed versions give the same bytes in every file.

    Args:
        out: the target; it must not exist, or be an empty folder. It appears when all
            is drawn, so an interrupted call leaves it as it was.
        train: rows of the train split, at least one per label of `LABELS`.
        valid: rows of the valid split, likewise.
        test: rows of the test split, likewise.
        seed: 0 or more.

    Raises:
        RenderError: an argument is out of range, or `out` cannot be written.
    """
    with appearing(out) as draft:
        draw_splits(draft, train, valid, test, seed)


def draw_splits(folder: Path, train: int, valid: int, test: int, seed: int) -> None:
    """Draws the splits into a folder; for the arguments see `render_dataset`."""
    counts = {"train": train, "valid": valid, "test": test}
    _check_arguments(counts, seed)
    for split_index, (split, count) in enumerate(counts.items()):
        _render_split(folder / split, count, (seed, split_index))


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Yields a folder to fill, which becomes `out` when it is complete.

    Raises:
        RenderError: `out` exists and is not an empty folder, or cannot be written.
    """
    out = out.resolve()
    _check_vacant(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name}.partial-", dir=out.parent
        ) as drafts:
            draft = Path(drafts) / out.name
            draft.mkdir()
            yield draft
            _check_vacant(out)
            os.replace(draft, out)
    except OSError as error:
        raise RenderError(
            f"{out}: the dataset cannot be written ({error}); "
            "choose a folder that you may write to, on a disk with free space"
        ) from error


def _check_arguments(counts: dict[str, int], seed: int) -> None:
    for split, count in counts.items():
        if count < len(LABELS):
            raise RenderError(
                f"{split} = {count} is too few: every split has each of the "
                f"{len(LABELS)} labels, so draw {len(LABELS)} or more"
            )
    if seed < 0:
        raise RenderError(f"seed = {seed} is negative; use 0 or more")


def _check_vacant(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise RenderError(f"{out} is a file; name a new or an empty folder")
    if out.is_dir() and any(out.iterdir()):
        raise RenderError(
            f"{out} is not empty and will not be overwritten; "
            "name a new folder, or delete this one first"
        )


def _render_split(folder: Path, count: int, seed: tuple[int, int]) -> None:
    (folder / "crops").mkdir(parents=True)
    labels = islice(_labels_in_order(seed), count)
    with (folder / "annotations.jsonl").open(
        "w", encoding="utf-8", newline="\n"
    ) as annotations:
        for index, label in enumerate(labels):
            crop, metadata = render_crop(label, np.random.default_rng((*seed, index)))
            name = f"crops/{index:05d}.jpg"
            crop.save(folder / name, "JPEG", quality=_JPEG_QUALITY)
            row = {
                "image": name,
                "prefix": "Read the number.",
                "suffix": label,
                "metadata": metadata,
            }
            annotations.write(json.dumps(row) + "\n")


def _labels_in_order(seed: tuple[int, int]) -> Iterator[str]:
    """Yields labels endlessly: each once, then always the one furthest below its share.

    So the first n rows have every label as often as its share says, within one or two.
    """
    shares = 1 / np.arange(6, 6 + len(LABELS))
    shares /= shares.sum()
    yield from (LABELS[i] for i in np.random.default_rng(seed).permutation(len(LABELS)))
    shown = np.ones(len(LABELS))
    while True:
        behind = int(np.argmax(shares * (shown.sum() + 1) - shown))
        shown[behind] += 1
        yield LABELS[behind]
