"""File helpers: atomic replacement, sync, safe reading, the user's cache folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PARTIAL = ".partial"


def cache_folder(kind: str) -> Path:
    """Folder of this user for what is safe to delete: `$XDG_CACHE_HOME/jersey-assets`.

    Args:
        kind: name of the folder in there; created if it is missing.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(cache) / "jersey-assets" / kind
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file in one step, and returns when the new one is on disk."""
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}{_PARTIAL}")
    try:
        partial.write_bytes(content)
        sync(partial)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    sync(path.parent)


def remove_partial(folder: Path, name: str = "*") -> None:
    """Removes partial files of killed writers; nobody else may be writing now.

    Args:
        folder: where the files are.
        name: the file's name; by default, all files.
    """
    for partial in folder.glob(f".{name}-*{_PARTIAL}"):
        partial.unlink()


@contextmanager
def explain_write_failure(path: Path) -> Iterator[None]:
    """Adds the free disk space to torch's error, which does not say why it failed.

    Raises:
        OSError: instead of torch's RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        left = shutil.disk_usage(path.parent).free / 1e6
        raise OSError(
            f"cannot write {path}: {error}; {left:.0f} MB are left on its disk"
        ) from error


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> int:
    """Opens a regular file to read it; never blocks, as opening a FIFO would.

    Returns:
        A descriptor; the caller closes it.

    Raises:
        OSError: it is missing, cannot be read, or is a FIFO, device, socket or folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: Path, limit: int) -> bytes:
    """Reads a regular file of at most `limit` bytes.

    Raises:
        OSError: as `open_regular`, or it has more bytes.
    """
    with os.fdopen(open_regular(path), "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return data
