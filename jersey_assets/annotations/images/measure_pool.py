"""Measures many images: from the cache, in this process, or in worker processes.

Decoding holds Python's lock, so threads would not help. Workers are plain programs on
pipes rather than a pool: they import nothing of the parent, end with it however it
ends, and a decoder that crashes on one hostile image costs only that image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.annotations.images.cache import load_cache, store_cache
from jersey_assets.annotations.images.measure import (
    PROBED,
    READY,
    Limits,
    Probed,
    probe_images,
    settings_line,
)
from jersey_assets.annotations.progress import Progress
from jersey_assets.annotations.rules import Rules
from jersey_assets.machine import usable_cpus

_FEW = 1000
"""For up to this many images, starting workers takes longer than the work."""

_CHUNK = 128


class _WorkerDiedError(Exception):
    """A worker ended before it answered."""


def probe_all(
    root: str,
    paths: Sequence[str],
    signatures: NDArray[np.int64],
    rules: Rules,
    progress: Progress,
    cache: Path | None = None,
) -> Probed:
    """Measure images; those in the cache are not opened.

    Args:
        root: the dataset's real root.
        paths: real posix paths relative to it.
        signatures: int64 [n, 5], from `stat` now.
        rules: limits on bytes and pixels.
        progress: reports how far the work is.
        cache: a file that keeps measurements; created if it is missing.
    """
    started = time.time_ns()
    values = np.zeros(len(paths), PROBED)
    known = np.zeros(len(paths), bool)
    if cache:
        known = load_cache(cache, paths, signatures, rules, values)
    unknown = np.flatnonzero(~known)
    limits = Limits(rules.max_image_bytes, rules.max_pixels)
    fresh = _probe(
        root, [paths[position] for position in unknown.tolist()], limits, progress
    )
    values[unknown] = fresh.values
    faults = {int(unknown[position]): fault for position, fault in fresh.faults.items()}
    if cache and len(unknown):
        good = np.ones(len(paths), bool)
        good[list(faults)] = False
        store_cache(cache, paths, values, good, started)
    return Probed(values, faults)


def _probe(
    root: str, paths: Sequence[str], limits: Limits, progress: Progress
) -> Probed:
    """Open and decode images, in as many processes as there are cores."""
    values = np.zeros(len(paths), PROBED)
    faults: dict[int, tuple[str, str]] = {}
    chunks = _Chunks(len(paths), progress)

    def work(workers: bool) -> None:
        with _Worker(root, limits) if workers else _Here(root, limits) as prober:
            for begin, end in chunks:
                part = prober.probe(paths[begin:end])
                values[begin:end] = part.values
                faults.update({begin + at: why for at, why in part.faults.items()})

    if len(paths) <= _FEW:
        work(False)
    else:
        count = min(usable_cpus(), 16)
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(work, [True] * count))
    return Probed(values, faults)


class _Chunks:
    """Hands out ranges of positions to several threads."""

    def __init__(self, size: int, progress: Progress) -> None:
        self._ranges = iter(range(0, size, _CHUNK))
        self._size = size
        self._progress = progress
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        while True:
            with self._lock:
                begin = next(self._ranges, None)
                if begin is None:
                    return
                self._progress.say(f"probing images: {begin:,} of {self._size:,}")
            yield begin, min(begin + _CHUNK, self._size)


class _Here:
    """Probes in this process."""

    def __init__(self, root: str, limits: Limits) -> None:
        self._root, self._limits = root, limits

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def probe(self, paths: Sequence[str]) -> Probed:
        return probe_images(self._root, paths, self._limits)


class _Worker:
    """Probes in a process of its own, which is restarted if it dies."""

    def __init__(self, root: str, limits: Limits) -> None:
        self._settings = settings_line(root, limits)
        self._process = self._start()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def probe(self, paths: Sequence[str]) -> Probed:
        """Probe images; an image that kills the worker is found by halving."""
        try:
            return self._ask(paths)
        except (_WorkerDiedError, OSError):
            self._stop()
            self._process = self._start()
        if len(paths) == 1:
            why = "image.decode", "the image crashed the decoder; export it again"
            return Probed(np.zeros(1, PROBED), {0: why})
        half = len(paths) // 2
        left, right = self.probe(paths[:half]), self.probe(paths[half:])
        faults = {half + position: why for position, why in right.faults.items()}
        values = np.concatenate((left.values, right.values))
        return Probed(values, left.faults | faults)

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            # -P keeps the current folder off the import path.
            [sys.executable, "-P", "-m", "jersey_assets.annotations.images.measure"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdin
        assert process.stdout
        with suppress(OSError):
            process.stdin.write(self._settings)
            process.stdin.flush()
        if process.stdout.readline() != READY:
            process.kill()
            raise AnnotationError(
                "the process that decodes images did not start "
                f"(exit status {process.wait()}); see its own message above"
            )
        return process

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, paths: Sequence[str]) -> Probed:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(paths).encode() + b"\n")
        self._process.stdin.flush()
        head = self._process.stdout.readline()
        size = len(paths) * PROBED.itemsize
        body = self._process.stdout.read(size)
        if len(body) < size:
            raise _WorkerDiedError
        faults = {int(at): (why[0], why[1]) for at, why in json.loads(head).items()}
        return Probed(np.frombuffer(body, PROBED), faults)
