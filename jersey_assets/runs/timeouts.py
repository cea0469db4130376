"""Time limits of ops: ends an op that hangs, since Dagster limits only whole runs.

Dagster's limit marks the run as failed and asks its process to stop; a process that
hangs in a driver or on a disk continues, and keeps the lock that the next training
waits for. Here the process watches itself.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

OP_HOURS, TRAINING_HOURS = 4, 20

GRACE_S = 300.0
"""Seconds between asking the process to stop, which saves its work, and killing it."""

_Function = TypeVar("_Function", bound=Callable[..., Any])

log = logging.getLogger(__name__)


def within(hours: float) -> Callable[[_Function], _Function]:
    """Decorates an op's function to end its process if it takes longer than this.

    The process gets SIGINT, on which a training saves its work, and SIGKILL if it is
    still in the op `GRACE_S` later. Either way the run has failed.
    """

    def limit(function: _Function) -> _Function:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def limited(*arguments: Any, **named: Any) -> Any:
                with _watched(function.__name__, hours):
                    yield from function(*arguments, **named)

        else:

            @functools.wraps(function)
            def limited(*arguments: Any, **named: Any) -> Any:
                with _watched(function.__name__, hours):
                    return function(*arguments, **named)

        return limited  # type: ignore[return-value]

    return limit


@contextmanager
def _watched(name: str, hours: float) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        if done.wait(hours * 3600):
            return
        log.error("%s has taken more than %g hours: stopping", name, hours)
        os.kill(os.getpid(), signal.SIGINT)
        if not done.wait(GRACE_S):
            log.error("%s does not stop: killing its process", name)
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name=f"limit of {name}").start()
    try:
        yield
    finally:
        done.set()
