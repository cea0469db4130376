"""The columns of the tables: descriptions, and the validated table's pandera schema.

Types are checked earlier, on the JSON itself; the schema states the rules of the table
as a whole, without coercion.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
import pandera.pandas as pa

from jersey_assets.annotations.disk.listing import SPLITS
from jersey_assets.annotations.rules import Rules

COLUMNS = {
    "split": "train, valid or test",
    "image": "path of the crop, relative to the dataset root, links resolved",
    "label": 'the number as written, "" = no readable number',
    "file": "the JSONL file, relative to the dataset root",
    "line": "line in that file, from 1",
    "prefix": "the prompt, if the row has one",
    "metadata": "the row's metadata as JSON text",
    "width": "width in pixels, after the EXIF orientation",
    "height": "height in pixels, after the EXIF orientation",
    "image_sha256": "sha256 of the image file",
    "pixel_hash": "sha256 of size and RGB pixels: equal pictures, however stored",
    "dhash": "64-bit difference hash: near for pictures that look alike",
}
"""The validated table."""

FINDING_COLUMNS = {
    "file": "the JSONL file, or the split's folder for a fault of a whole split",
    "line": "line in that file, from 1; 0 for the file or split as a whole",
    "split": "train, valid or test",
    "image": "path of the crop as the row names it",
    "label": "the label as written, if there is one",
    "field": "the faulty field",
    "value": "its value, cut to a readable length",
    "reason": "reason code",
    "severity": "error: set aside; warning: kept or merged",
    "message": "what is wrong and what to do about it",
}
"""The tables of rows set aside and of warnings."""


def validated_schema(rules: Rules) -> pa.DataFrameSchema:
    """Describe the validated table, one row per kept annotation."""
    hex64 = pa.Check.str_matches("^[0-9a-f]{64}$")
    hex16 = pa.Check.str_matches("^[0-9a-f]{16}$")
    text, number, checks = "str", "int64", pa.Check
    return pa.DataFrameSchema(
        {
            name: pa.Column(
                kind,
                check,
                nullable=name in ("prefix", "metadata"),
                description=COLUMNS[name],
            )
            for name, kind, check in (
                ("split", text, checks.isin(SPLITS)),
                ("image", text, checks(lambda column: column != "")),
                ("label", text, checks(_all_match(rules.label_pattern))),
                ("file", text, None),
                ("line", number, checks.ge(1)),
                ("prefix", text, None),
                ("metadata", text, None),
                ("width", number, checks.ge(1)),
                ("height", number, checks.ge(1)),
                ("image_sha256", text, hex64),
                ("pixel_hash", text, hex64),
                ("dhash", text, hex16),
            )
        },
        checks=pa.Check(_each_line_once),
        strict=True,
        ordered=True,
    )


def _all_match(pattern: str) -> Callable[[pd.Series[str]], bool]:
    """Check a column by its distinct values: labels are few, rows are many."""
    compiled = re.compile(pattern, re.ASCII)
    return lambda labels: all(map(compiled.fullmatch, labels.unique()))


def _each_line_once(table: pd.DataFrame) -> bool:
    """Check that the lines of each file are together and ascend."""
    new_file = table["file"] != table["file"].shift()
    ascends = (table["line"].diff() > 0) | new_file
    return bool(ascends.all()) and new_file.sum() == table["file"].nunique()
