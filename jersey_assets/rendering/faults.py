"""Draws a small dataset with known faults, to see what validation reports.

Besides the valid rows of `dataset.py`, each split has its faults in a separate file,
`faults.jsonl`: one for each common reason code.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from jersey_assets.rendering.crops import render_crop
from jersey_assets.rendering.dataset import appearing, draw_splits

# Enough that no label of train is rare.
_TRAIN, _VALID, _TEST = 400, 40, 40
_FILE = "faults.jsonl"
_UNKNOWN = "99"
"""A label that train does not have."""


@dataclass(frozen=True)
class Planted:
    """One fault of the dataset.

    Attributes:
        file: JSONL file, relative to the dataset's root.
        line: from 1.
        reason: the reason code that validation gives for it.
        what: what is wrong, for people.
    """

    file: str
    line: int
    reason: str
    what: str


def render_faults(out: Path, seed: int) -> list[Planted]:
    """Draws the dataset; the same seed gives the same faults.

    Args:
        out: the target; it must not exist, or be an empty folder.
        seed: 0 or more.

    Raises:
        RenderError: the seed is negative, or `out` cannot be written.
    """
    with appearing(out) as folder:
        draw_splits(folder, _TRAIN, _VALID, _TEST, seed)
        train = _Split(folder / "train", seed)
        _plant_lines(train)
        _plant_labels(train)
        _plant_paths(train)
        _plant_images(train)
        leaked = (folder / "valid" / "crops" / "00000.jpg").read_bytes()
        rows = (folder / "valid" / "annotations.jsonl").read_text("utf-8")
        label = json.loads(rows.splitlines()[0])["suffix"]
        train.plant(
            _row(train.image("copy", leaked), label),
            "leak.exact",
            "a copy of a crop of valid",
        )
        valid = _Split(folder / "valid", seed + 1)
        valid.plant(
            _row(valid.crop("unknown", _UNKNOWN), _UNKNOWN),
            "label.unknown",
            f'"{_UNKNOWN}", which no row of train has',
        )
        train.write()
        valid.write()
    return train.planted + valid.planted


class _Split:
    """A split's faulty rows, and the crops that they name."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.planted: list[Planted] = []
        self.folder = folder
        self._lines: list[str] = []
        self._rng = np.random.default_rng((seed, 1_000))

    def plant(self, row: object, reason: str, what: str) -> None:
        """Adds a faulty row, as JSON or, if it is text, verbatim."""
        self._lines.append(row if isinstance(row, str) else json.dumps(row))
        file = f"{self.folder.name}/{_FILE}"
        self.planted.append(Planted(file, len(self._lines), reason, what))

    def add(self, row: object) -> None:
        """Adds a valid row."""
        self._lines.append(json.dumps(row))

    def image(self, name: str, data: bytes) -> str:
        """Writes an image file; returns its path for a row."""
        path = f"crops/{name}.jpg"
        (self.folder / path).write_bytes(data)
        return path

    def crop(self, name: str, label: str) -> str:
        """Draws a crop; returns its path for a row."""
        return self.image(name, _encode(render_crop(label, self._rng)[0]))

    def write(self) -> None:
        """Writes the file of all rows that were added."""
        text = "".join(f"{line}\n" for line in self._lines)
        (self.folder / _FILE).write_text(text, "utf-8", newline="\n")


def _plant_lines(split: _Split) -> None:
    whole = json.dumps(_row(split.crop("line", "8"), "8"))
    split.plant(whole[:-12], "json.syntax", "a line that is cut off")
    twice = whole[:-1] + ', "suffix": "3"}'
    split.plant(twice, "json.duplicate_key", "a key that occurs twice")
    missing = {"image": "crops/line.jpg"}
    split.plant(missing, "row.missing_field", "no suffix")


def _plant_labels(split: _Split) -> None:
    path = split.crop("label", "8")
    split.plant(_row(path, 8), "row.wrong_type", "a number instead of a string")
    split.plant(_row(path, "8 "), "label.whitespace", "a space after the number")
    split.plant(_row(path, "8B"), "label.charset", "a letter in the number")
    split.plant(_row(path, "888"), "label.too_long", "three digits")
    path = split.crop("conflict", "8")
    for label in ("8", "3"):
        split.plant(_row(path, label), "label.conflict", "one crop, two labels")
    path = split.crop("duplicate", "8")
    split.add(_row(path, "8"))
    split.plant(_row(path, "8"), "label.duplicate", "the previous row again")


def _plant_paths(split: _Split) -> None:
    for path, reason, what in (
        ("crops/none.jpg", "path.missing", "a crop that does not exist"),
        ("/data/crops/1.jpg", "path.absolute", "an absolute path"),
        ("../../other/1.jpg", "path.escape", "a path out of the dataset"),
        ("https://example.org/1.jpg", "path.scheme", "a URL"),
    ):
        split.plant(_row(path, "8"), reason, what)


def _plant_images(split: _Split) -> None:
    data = (split.folder / split.crop("whole", "8")).read_bytes()
    grey = Image.new("RGB", (40, 60), (90, 90, 90))
    tiny = Image.new("RGB", (5, 5), (200, 40, 40))
    for name, content, reason, what in (
        ("empty", b"", "image.empty", "an empty file"),
        ("cut", data[: len(data) // 2], "image.truncated", "half a JPEG"),
        ("page", b"<html></html>", "image.format", "a web page, not an image"),
        ("tiny", _encode(tiny), "image.too_small", "5 x 5 pixels"),
        ("grey", _encode(grey), "image.flat", "one even colour"),
    ):
        split.plant(_row(split.image(name, content), "8"), reason, what)


def _row(image: str, label: object) -> dict[str, object]:
    return {"image": image, "prefix": "Read the number.", "suffix": label}


def _encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92)
    return stream.getvalue()
