"""The fingerprint: one digest over the names and contents of all annotation files.

All that read the files (the validation, the sensor's watch, `fingerprint` itself)
digest each as a `Content`, and `fingerprint_of` combines them: all three agree.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jersey_assets.annotations.disk.confined import real_root
from jersey_assets.annotations.disk.errors import PathError
from jersey_assets.annotations.disk.listing import (
    AnnotationFile,
    list_annotation_files,
    open_annotation_file,
)

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Fingerprint:
    """Identifies what is on disk; changes with any JSONL file's name or content."""

    digest: str
    files: int
    bytes: int


class Content:
    """What has been read of one annotation file so far.

    Attributes:
        length: bytes that were read.
        whole: whether the file's end was reached.
    """

    def __init__(self) -> None:
        """Start at the file's beginning."""
        self._sha256 = hashlib.sha256()
        self.length = 0
        self.whole = False

    def read(
        self, stream: io.FileIO, chunk_bytes: int, limit: int = sys.maxsize
    ) -> Iterator[bytes]:
        """Yield what follows in chunks, up to the file's end or `limit` bytes."""
        stream.seek(self.length)
        while limit > 0:
            chunk = stream.read(min(chunk_bytes, limit))
            if not chunk:
                self.whole = True
                return
            self._sha256.update(chunk)
            self.length += len(chunk)
            limit -= len(chunk)
            yield chunk

    def digest(self) -> str:
        """Return the sha256 of what was read: hex."""
        return self._sha256.hexdigest()


def fingerprint(root: Path) -> Fingerprint:
    """Digest the names and contents of all annotation files.

    Never waits on a FIFO and holds no more than a chunk of a file in memory.

    Raises:
        AnnotationError: the root is missing or not a folder.
    """
    base = real_root(root)
    files = list_annotation_files(root)
    return fingerprint_of((file, _read_all(base, file)) for file in files)


def fingerprint_of(
    contents: Iterable[tuple[AnnotationFile, Content | None]],
) -> Fingerprint:
    """Combine digests so that no file name can imitate another content.

    Args:
        contents: all listed files with their whole contents; None if a file cannot be
            read.
    """
    digest = hashlib.sha256()
    files = size = 0
    for file, content in contents:
        files += 1
        size += content.length if content else 0
        said = content.digest() if content else file.reason or "file.unreadable"
        digest.update(json.dumps((file.path, said)).encode() + b"\n")
    return Fingerprint(digest.hexdigest(), files, size)


def _read_all(base: str, file: AnnotationFile) -> Content | None:
    content = Content()
    try:
        with open_annotation_file(base, file) as stream:
            for _ in content.read(stream, _CHUNK_BYTES):
                pass
    except (PathError, OSError):
        return None
    return content
