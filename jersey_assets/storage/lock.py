"""Locks between processes that the kernel drops when their holder dies."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

_LONGEST_PAUSE_S = 0.5
_SAY_AGAIN_S = 60.0

log = logging.getLogger(__name__)


@contextmanager
def one_at_a_time(path: Path, run_id: str) -> Iterator[None]:
    """Waits until no other process is in this block, and keeps others out.

    The holder's name is written into the lock file, and waiting processes log it, at
    once and then every minute. The lock is the kernel's (`flock`), not the file's
    existence: it is free as soon as its holder is gone, however it ended.

    Args:
        path: the lock file; created if it is missing, never removed.
        run_id: names this holder in the logs of waiting processes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        _acquire(file, path)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "run": run_id,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with suppress(OSError):  # a full disk must not prevent locking
            file.truncate(0)
            file.write(json.dumps(holder).encode())
        yield


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Marks a folder as in use, as long as this process lives."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks cannot lock folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_claimed(folder: Path) -> bool:
    """Whether a live process uses a folder; True if that is unknown."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _acquire(file: IO[bytes], path: Path) -> None:
    said = -_SAY_AGAIN_S
    pause = 0.01
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() - said >= _SAY_AGAIN_S:
                said = time.monotonic()
                file.seek(0)
                holder = file.read().decode(errors="replace") or "another"
                log.info("waiting for %s, held by %s", path, holder)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
