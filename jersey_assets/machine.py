"""What Linux offers and other systems do not, or do otherwise."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_CHUNK_BYTES = 1 << 20


def usable_cpus() -> int:
    """Counts the cores that this process may use; where that is not told, all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allocate(descriptor: int, size: int) -> None:
    """Makes an empty file `size` bytes long, with the disk's blocks taken for them.

    Raises:
        OSError: the disk has no room for it.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(_CHUNK_BYTES)
    for start in range(0, size, _CHUNK_BYTES):
        os.pwrite(descriptor, zeros[: size - start], start)


def end_with_parent(signal_number: int) -> None:
    """Asks for a signal when the parent is gone, where the system can be asked."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal_number)
