"""A small dataset on disk, ways to spoil it, and what validation finds in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jersey_assets.annotations.result import Validation
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate

TRAIN_ROWS, VALID_ROWS, TEST_ROWS = 12, 4, 4
"""Rows of the dataset `good`, whose labels are "7" and "23" in turn."""


def noise(seed: int, size: tuple[int, int] = (24, 32)) -> Image.Image:
    """A picture like no other: smooth blobs that survive re-encoding."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)
    return Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, with ways to add to it."""

    root: Path

    def image(self, path: str, image: Image.Image | bytes | int = 0) -> str:
        """Write an image file; a number draws the picture of that seed."""
        if isinstance(image, int):
            image = noise(image)
        data = encoded(image) if isinstance(image, Image.Image) else image
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data)
        return path

    def lines(self, file: str, lines: Sequence[object]) -> None:
        """Append lines: bytes as they are, anything else as JSON."""
        target = self.root / file
        target.parent.mkdir(parents=True, exist_ok=True)
        old = target.read_bytes() if target.exists() else b""
        target.unlink(missing_ok=True)
        added = (
            line if isinstance(line, bytes) else json.dumps(line).encode()
            for line in lines
        )
        target.write_bytes(old + b"".join(line + b"\n" for line in added))

    def bytes(self, file: str, data: bytes) -> None:
        """Write a file anew."""
        target = self.root / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data)

    def validate(self, **rules: Any) -> Validation:
        """Judge the dataset."""
        return validate(self.root, Rules(**rules))


def row(image: str, suffix: object, **more: object) -> dict[str, object]:
    """One annotation."""
    return {"image": image, "suffix": suffix, **more}


def found(validation: Validation) -> set[tuple[str, int, str]]:
    """All findings as (file, line, reason)."""
    return {
        (file, line, reason)
        for table in (validation.rejected, validation.warnings)
        for file, line, reason in zip(
            table["file"], table["line"], table["reason"], strict=True
        )
    }


def assert_nothing_is_lost(validation: Validation) -> None:
    """Rows read = kept + set aside + merged, from the tables and in the summary."""
    summary = validation.summary
    rejected = validation.rejected
    aside = len(rejected[rejected["line"] > 0].groupby(["file", "line"]))
    merged = int((validation.warnings["reason"] == "label.duplicate").sum())
    assert summary["rows"] == len(validation.validated) + aside + merged
    assert summary["kept"] == len(validation.validated)
    assert summary["rejected"] == aside
    assert summary["duplicates"] == merged
    places = set(
        zip(validation.validated["file"], validation.validated["line"], strict=True)
    )
    assert places.isdisjoint(zip(rejected["file"], rejected["line"], strict=True))


def good_rows(count: int) -> list[dict[str, object]]:
    """Annotations of crops 0.png, 1.png, … with both labels in turn."""
    return [row(f"crops/{n}.png", ("7", "23")[n % 2]) for n in range(count)]


TRAIN = "train/annotations.jsonl"
BAD = TRAIN_ROWS + 1
GOOD_ROWS = TRAIN_ROWS + VALID_ROWS + TEST_ROWS


def check(
    data: Dataset, outcome: str, expected: set[tuple[str, int, str]], **rules: object
) -> None:
    validation = data.validate(**rules)
    assert found(validation) == expected
    assert validation.summary["outcome"] == outcome
    assert_nothing_is_lost(validation)
    messages = [*validation.rejected["message"], *validation.warnings["message"]]
    assert all(len(message) < 600 for message in messages)


GOOD = b'{"image": "crops/0.png", "suffix": "7"}'
PNG = encoded(noise(99))
JPEG = encoded(noise(99, (80, 120)), "JPEG", quality=90)
JSONL = b'{"image": "crops/x.png", "suffix": "7"}\n'
