"""A lock between processes that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

_POLL_S = 0.5
_SAY_AGAIN_S = 60.0

log = logging.getLogger(__name__)


@contextmanager
def one_at_a_time(path: Path, run_id: str) -> Iterator[None]:
    """Waits until no other process is in here, and keeps others out.

    Who holds the lock is written into its file and logged by those who wait, at once
    and then every minute. The lock is the kernel's (`flock`), not the file's
    existence: it is free as soon as its holder is gone, however it ended.

    Args:
        path: the lock file; made where it is missing, never removed.
        run_id: what the others are told about this holder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _acquire(file, path)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "run": run_id,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        file.truncate(0)
        file.write(json.dumps(holder))
        file.flush()
        yield


def _acquire(file: TextIO, path: Path) -> None:
    said = -_SAY_AGAIN_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() - said >= _SAY_AGAIN_S:
                said = time.monotonic()
                file.seek(0)
                log.info("waiting for %s, held by %s", path, file.read() or "another")
            time.sleep(_POLL_S)
