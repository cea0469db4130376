"""System calls that differ between Linux and macOS: cores, disk space, parents' end."""

from __future__ import annotations

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_CHUNK_BYTES = 1 << 20


def usable_cpus() -> int:
    """Counts the cores that this process may use; if that is unknown, all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allocate(descriptor: int, size: int) -> None:
    """Makes an empty file `size` bytes long, and reserves the disk's blocks for it.

    Raises:
        OSError: the disk has not enough space.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(_CHUNK_BYTES)
    for start in range(0, size, _CHUNK_BYTES):
        os.pwrite(descriptor, zeros[: size - start], start)


def end_with_parent(signal_number: int) -> None:
    """Requests a signal for when the parent is gone, if the system supports it."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal_number)
