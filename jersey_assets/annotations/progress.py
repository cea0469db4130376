"""Progress messages of a long validation, at a bounded rate."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_BETWEEN = 1.0


class Progress:
    """Passes messages on to a listener, at most one in `SECONDS_BETWEEN`."""

    def __init__(self, listener: Callable[[str], None] | None = None) -> None:
        """Start the clock; without a listener nothing is reported."""
        self._listener = listener
        self._last = time.monotonic()

    def say(self, message: str) -> None:
        """Pass a message on, or drop it if the last one was sent just now."""
        now = time.monotonic()
        if self._listener and now - self._last >= SECONDS_BETWEEN:
            self._last = now
            self._listener(message)
