"""Watches the annotation files for the sensor, cheaply and without getting stuck.

A tick of a sensor has to answer in seconds, whatever the folder holds. So a look runs
in a thread of its own, and the tick waits for it until a deadline: a disk that no
longer answers holds up that thread and nothing else. A look reads a limited number of
bytes, and the next one continues from there, even in the middle of a large file.
Digests of contents are kept in memory, so that an unchanged file costs one `lstat`.

A kept digest is trusted while the file's device, inode, size, mtime and ctime stay the
same. Nobody can set a file's ctime, but clocks tick in steps: a file that changed
within two seconds of being read is read again by the next look (the "racily clean"
entries of git's index). Imports the standard library only.
"""

from __future__ import annotations

import functools
import io
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jersey_assets.annotations.disk.confined import real_root, signature
from jersey_assets.annotations.disk.errors import PathError
from jersey_assets.annotations.disk.fingerprint import (
    Content,
    Fingerprint,
    fingerprint_of,
)
from jersey_assets.annotations.disk.listing import (
    AnnotationFile,
    list_annotation_files,
    open_annotation_file,
)
from jersey_assets.text import count, shorten_path

if TYPE_CHECKING:
    from jersey_assets.storage.mirror import Mirror

DEADLINE_S = 10.0
BUDGET_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_SETTLED_S = 2.0
_BLANK = b" \t\r"  # as `jsonl.BLANK`

_Identity = tuple[int, int, int, int, int]


class NotSeenError(RuntimeError):
    """The look has no answer yet; the message says what it is waiting for."""


@dataclass(frozen=True)
class Seen:
    """What one look found.

    Attributes:
        fingerprint: the same that `fingerprint` returns.
        rows: lines that are not blank, of all files together.
    """

    fingerprint: Fingerprint
    rows: int


@dataclass
class _Reading:
    """How far a file has been read, and what was found in it so far."""

    identity: _Identity
    settled: bool
    content: Content = field(default_factory=Content)
    rows: int = 0
    in_row: bool = False

    def read_on(self, stream: io.FileIO, limit: int) -> None:
        """Read on, up to the file's end or `limit` bytes."""
        for chunk in self.content.read(stream, _CHUNK_BYTES, limit):
            filled = [bool(line.strip(_BLANK)) for line in chunk.split(b"\n")]
            filled[0] |= self.in_row
            self.in_row = filled.pop()
            self.rows += sum(filled)


class Watch:
    """Looks at one dataset root repeatedly."""

    def __init__(
        self,
        root: Path,
        budget_bytes: int = BUDGET_BYTES,
        mirror: Mirror | None = None,
    ) -> None:
        """Remember where to look, and how many bytes one look may read.

        If the root is the copy of a URL, each look refreshes the copy first.
        """
        self._root = root
        self._mirror = mirror
        self._budget = budget_bytes
        self._readings: dict[str, _Reading] = {}
        self._lock = threading.Lock()
        self._under_way: Future[Seen] | None = None
        self._since = 0.0

    def look(self, deadline_s: float = DEADLINE_S) -> Seen:
        """Return what is there now.

        One look runs at a time: if an earlier one did not end by its deadline, this
        call waits for that one.

        Raises:
            NotSeenError: there is no answer by the deadline, or within the budget.
            AnnotationError: the root is missing or not a folder.
            MirrorError: the URL that the root is a copy of cannot be read.
        """
        with self._lock:
            if self._under_way is None:
                self._under_way = Future()
                self._since = time.monotonic()
                threading.Thread(
                    target=self._answer, args=(self._under_way,), daemon=True
                ).start()
            under_way = self._under_way
        try:
            return under_way.result(deadline_s)
        except TimeoutError:
            seconds = time.monotonic() - self._since
            raise NotSeenError(
                f"{self._root} has not answered for {seconds:.0f} s: a slow disk, or "
                "one that is gone?"
            ) from None
        finally:
            with self._lock:
                if under_way.done() and self._under_way is under_way:
                    self._under_way = None

    def _answer(self, future: Future[Seen]) -> None:
        try:
            future.set_result(self._look())
        except BaseException as error:
            future.set_exception(error)

    def _look(self) -> Seen:
        if self._mirror is not None:
            self._mirror.refresh("*.jsonl", self._budget)
        base = real_root(self._root)
        files = list_annotation_files(self._root)
        left = self._budget
        readings: dict[str, _Reading] = {}
        contents: list[tuple[AnnotationFile, Content | None]] = []
        for file in files:
            reading = self._known(base, file)
            if reading is None:
                reading, used = self._read(base, file, left)
                left -= used
            if reading is not None:
                readings[file.real] = reading
            contents.append((file, reading.content if reading else None))
        self._readings = readings
        unread = [file.path for file, read in contents if read and not read.whole]
        if unread:
            raise NotSeenError(
                f"{len(unread):,} of {count(len(files), 'annotation file')} still to "
                f"be read, {self._budget:,} bytes at a time; the first is "
                f"{shorten_path(unread[0])} ({_size(base, unread[0]):,} bytes)"
            )
        rows = sum(reading.rows + reading.in_row for reading in readings.values())
        return Seen(fingerprint_of(contents), rows)

    def _known(self, base: str, file: AnnotationFile) -> _Reading | None:
        """Return what an earlier look read, if it is still valid."""
        before = self._readings.get(file.real)
        if before is None or not before.settled or not before.content.whole:
            return None
        try:
            now = os.lstat(os.path.join(base, file.real))
        except OSError:
            return None
        return before if before.identity == signature(now) else None

    def _read(
        self, base: str, file: AnnotationFile, left: int
    ) -> tuple[_Reading | None, int]:
        """Read a file, or continue reading it, within the rest of the budget.

        Returns:
            How far it was read (None if it cannot be read), and the bytes read now.
        """
        try:
            with open_annotation_file(base, file) as stream:
                reading = self._resume(file, os.fstat(stream.fileno()))
                start = reading.content.length
                reading.read_on(stream, left)
                return reading, reading.content.length - start
        except (PathError, OSError):
            return None, 0

    def _resume(self, file: AnnotationFile, status: os.stat_result) -> _Reading:
        before = self._readings.get(file.real)
        identity = signature(status)
        if before and not before.content.whole and before.identity == identity:
            return before
        return _Reading(identity, abs(time.time() - status.st_ctime) > _SETTLED_S)


@functools.cache
def watch(root: Path, mirror: Mirror | None = None) -> Watch:
    """Return the watch over a root: one per process, so that digests are kept."""
    return Watch(root, mirror=mirror)


def _size(base: str, path: str) -> int:
    try:
        return os.stat(os.path.join(base, path)).st_size
    except OSError:
        return 0
