"""The answer that every promise of every room gives: kept or broken, and why.

A leaf that all rooms share; the graph turns verdicts into Dagster's check results
and `cli.py` prints them, so a promise reads the same in the UI and in a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Verdict:
    """Whether one promise holds.

    Attributes:
        name: the check's name, as declared in `checks.py`.
        passed: whether the promise holds.
        message: what was seen and what was expected, in a sentence or two.
        severity: `error` for a broken promise, `warning` for one worth knowing.
        facts: what was measured; JSON values only.
    """

    name: str
    passed: bool
    message: str
    severity: Literal["error", "warning"] = "error"
    facts: Mapping[str, Any] = field(default_factory=dict)
