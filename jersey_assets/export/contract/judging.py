"""Turns a check's list of faults into its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jersey_assets.text import readable
from jersey_assets.verdict import Verdict

_MAX_FAULT = 500


def judge(
    name: str,
    faults: list[str],
    praise: Callable[[], str] = str,
    facts: Mapping[str, Any] | None = None,
) -> Verdict:
    """Returns the verdict: the check passes if there are no faults.

    Args:
        name: of the check.
        faults: sentences; the message has the first five.
        praise: makes the message if there are none.
        facts: what was measured.
    """
    cut = [f if len(f) <= _MAX_FAULT else f"{f[:_MAX_FAULT]}…" for f in faults[:5]]
    message = "; ".join(cut) if faults else praise()
    if len(faults) > 5:
        message += f"; and {len(faults) - 5} more"
    return Verdict(
        name, passed=not faults, message=readable(message), facts=facts or {}
    )
