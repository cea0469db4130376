"""Rules: every setting of the annotation room, with its default and its unit.

The upper floor offers the first three to people; the rest are limits of the room.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MIN_BUDGET_ROWS = 5
"""The budget of set-aside rows is never smaller than this, however small the data."""


@dataclass(frozen=True)
class Rules:
    """What the room accepts.

    Attributes:
        label_pattern: regular expression that a whole label matches (ASCII).
        conflict_policy: `reject` sets all rows of a doubly labelled image aside;
            `prefer_number` keeps the number where the other label is `""`.
        rejected_budget: share of rows that may be set aside, 0..1.
        rare_below: a train label with fewer images than this is rare.
        max_imbalance: largest over smallest class of train before it is warned of.
        max_line_bytes: longest JSONL line that is parsed, in bytes.
        max_depth: deepest JSON nesting that is parsed.
        max_image_bytes: largest image file that is read, in bytes.
        max_pixels: largest image that is decoded, width times height.
        min_side: shortest side of a crop, in pixels.
        max_aspect: longer side over shorter side of a crop.

    Raises:
        ValueError: a value is out of range or the pattern does not compile.
    """

    label_pattern: str = "[0-9]{0,2}"
    conflict_policy: Literal["reject", "prefer_number"] = "reject"
    rejected_budget: float = 0.10
    rare_below: int = 5
    max_imbalance: float = 20.0
    max_line_bytes: int = 1 << 20
    max_depth: int = 64
    max_image_bytes: int = 32 << 20
    max_pixels: int = 16_000_000
    min_side: int = 8
    max_aspect: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values that no dataset could satisfy."""
        try:
            re.compile(self.label_pattern, re.ASCII)
        except re.error as error:
            raise ValueError(f"label_pattern does not compile: {error}") from error
        if self.conflict_policy not in ("reject", "prefer_number"):
            raise ValueError(
                f"conflict_policy is {self.conflict_policy!r}; "
                "write reject or prefer_number"
            )
        if not 0 <= self.rejected_budget <= 1:
            raise ValueError(
                f"rejected_budget is {self.rejected_budget}; it is a share, 0 to 1"
            )

    def budget_rows(self, rows: int) -> int:
        """Count the rows, of this many read, that may be set aside."""
        return max(MIN_BUDGET_ROWS, int(self.rejected_budget * rows))
