"""How tests wait: long enough for a machine that is busy with other things."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 240.0

_Result = TypeVar("_Result")


def wait_until(holds: Callable[[], _Result], what: str) -> _Result:
    """Asks until the answer is true, and gives it back.

    Raises:
        AssertionError: it was not within `PATIENCE_S`; `what` says what was awaited.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return answer
