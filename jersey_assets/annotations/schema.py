"""The contract of the validated table, in pandera: the last gate before it is kept.

Types were checked on the JSON itself, before any table could bend them; here stand the
rules of the table as a whole, without coercion.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
import pandera.pandas as pa

from jersey_assets.annotations.files import SPLITS
from jersey_assets.annotations.rules import Rules

FINDING_COLUMNS = (
    "file",
    "line",
    "split",
    "image",
    "label",
    "field",
    "value",
    "reason",
    "severity",
    "message",
)


def validated_schema(rules: Rules) -> pa.DataFrameSchema:
    """Describe the validated table, one row per kept annotation."""
    hex64 = pa.Check.str_matches("^[0-9a-f]{64}$")
    hex16 = pa.Check.str_matches("^[0-9a-f]{16}$")
    return pa.DataFrameSchema(
        {
            "split": pa.Column("str", pa.Check.isin(SPLITS)),
            "image": pa.Column("str", pa.Check(lambda column: column != "")),
            "label": pa.Column("str", pa.Check(_all_match(rules.label_pattern))),
            "file": pa.Column("str"),
            "line": pa.Column("int64", pa.Check.ge(1)),
            "prefix": pa.Column("str", nullable=True),
            "metadata": pa.Column("str", nullable=True),
            "width": pa.Column("int64", pa.Check.ge(1)),
            "height": pa.Column("int64", pa.Check.ge(1)),
            "image_sha256": pa.Column("str", hex64),
            "pixel_hash": pa.Column("str", hex64),
            "dhash": pa.Column("str", hex16),
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
    """Check that the lines of each file stand together and ascend."""
    new_file = table["file"] != table["file"].shift()
    ascends = (table["line"].diff() > 0) | new_file
    return bool(ascends.all()) and new_file.sum() == table["file"].nunique()
