"""All settings of validation: the labels' pattern, the budget, limits of images.

Users can set the ones in `OFFERED`, on the command line and in Dagster, which take
default, range and help from here; the others are fixed limits. Imports pydantic.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, Field, field_validator

from jersey_assets.crops.limits import MAX_PIXELS

MIN_BUDGET_ROWS = 5
"""The budget of set-aside rows is never smaller than this, however small the data."""

OFFERED = ("label_pattern", "conflict_policy", "rejected_budget")
"""The rules that users can set."""

ConflictPolicy: TypeAlias = Literal["reject", "prefer_number"]


class Rules(BaseModel, frozen=True, extra="forbid"):
    """What is accepted. A value out of range raises ValueError."""

    label_pattern: str = Field(
        "[0-9]{0,2}", description="regular expression of a whole label (ASCII)"
    )
    conflict_policy: ConflictPolicy = Field(
        "reject",
        description="an image listed with two labels: reject = set all its rows "
        'aside; prefer_number = where they are "" and one number, keep the number',
    )
    rejected_budget: float = Field(
        0.10,
        ge=0,
        le=1,
        description="share of the rows that may be set aside before a run stops; "
        f"at least {MIN_BUDGET_ROWS} rows",
    )
    rare_below: int = Field(
        5, ge=0, description="a train label with fewer images than this is rare"
    )
    max_imbalance: float = Field(
        20.0, ge=1, description="largest over smallest train class without a warning"
    )
    max_line_bytes: int = Field(
        1 << 20, ge=1, description="longest JSONL line that is parsed, bytes"
    )
    max_depth: int = Field(64, ge=1, description="deepest JSON nesting that is parsed")
    max_image_bytes: int = Field(
        32 << 20, ge=1, description="largest image file that is read, bytes"
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, description="largest image that is decoded, width x height"
    )
    min_side: int = Field(8, ge=1, description="shortest side of a crop, px")
    max_aspect: float = Field(
        10.0, ge=1, description="longer side over shorter side of a crop, at most"
    )

    @field_validator("label_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern, re.ASCII)
        except re.error as error:
            raise ValueError(f"label_pattern does not compile: {error}") from error
        return pattern

    def budget_rows(self, rows: int) -> int:
        """Return how many of this many rows may be set aside."""
        return max(MIN_BUDGET_ROWS, int(self.rejected_budget * rows))


def setting(rule: str) -> Any:
    """Return a rule as another model's field: its default, range and description."""
    return Rules.model_fields[rule]
