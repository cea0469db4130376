"""From faults in words to the verdict on a promise."""

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
    """Gives the verdict: a promise holds where there are no faults.

    Args:
        name: of the promise.
        faults: in words, the first five of which are told.
        praise: says what was seen where there are none.
        facts: numbers behind it.
    """
    cut = [f if len(f) <= _MAX_FAULT else f"{f[:_MAX_FAULT]}…" for f in faults[:5]]
    message = "; ".join(cut) if faults else praise()
    if len(faults) > 5:
        message += f"; and {len(faults) - 5} more"
    return Verdict(
        name, passed=not faults, message=readable(message), facts=facts or {}
    )
