"""Opens and reads files of a dataset without ever leaving its root.

Every file of a dataset is opened here. A path is resolved first and then opened,
component by component and without following links, so that nothing outside the root is
opened even if someone swaps links meanwhile; anything but a regular file (a FIFO,
socket, device or folder) is refused before it is opened. Needs the standard library
only.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from jersey_assets.annotations.disk.errors import (
    AnnotationError,
    PathError,
    not_regular,
    path_error,
)

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def real_root(root: Path) -> str:
    """Resolve the dataset's root; raises AnnotationError if it is not a folder."""
    resolved = os.path.realpath(root)
    if not os.path.isdir(resolved):
        what = "is not a folder" if os.path.lexists(resolved) else "does not exist"
        raise AnnotationError(
            f"{root}: the dataset root {what}; give the folder that holds train/ "
            "and valid/"
        )
    return resolved


def resolve(root: str, relative: str) -> str:
    """Follow all links of a path relative to the (real) root.

    Returns:
        The real path relative to the root, which may not exist.

    Raises:
        PathError: `path.escape`, `path.symlink_escape`, `path.unreadable` or
            `path.invalid`.
    """
    if os.path.normpath(relative).split("/", 1)[0] == "..":
        raise PathError(
            "path.escape",
            "the path climbs out of the dataset; copy the file into it and name it "
            "from there",
        )
    try:
        real = os.path.realpath(os.path.join(root, relative))
    except RecursionError as error:
        raise PathError(
            "path.unreadable", "too many links lead to it; name the file itself"
        ) from error
    inside = os.path.relpath(real, root)
    if inside.split("/", 1)[0] == "..":
        raise PathError(
            "path.symlink_escape",
            "a link leads out of the dataset; replace it by the file itself",
        )
    try:
        inside.encode()
    except UnicodeEncodeError as error:
        raise PathError(
            "path.invalid", "a link leads to a name that is not UTF-8; rename it"
        ) from error
    return inside


class ConfinedFiles:
    """Opens files below a root by their real paths, keeping the last folder open."""

    def __init__(self, root: str) -> None:
        """Start at the (real) root, without any folder open."""
        self._root = root
        self._parent = ""
        self._folder = -1

    def __enter__(self) -> ConfinedFiles:
        """Use as a context, so that the folder is closed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the folder that was opened last."""
        if self._folder >= 0:
            os.close(self._folder)

    def open(self, real: str) -> int:
        """Open a regular file, without waiting and without links.

        Args:
            real: path relative to the root, after links were resolved.

        Returns:
            A descriptor; the caller closes it.

        Raises:
            PathError: `path.missing`, `path.not_regular` or `path.unreadable`.
        """
        parent, _, name = real.rpartition("/")
        try:
            if self._folder < 0 or parent != self._parent:
                folder = open_folder(self._root, parent)
                self.__exit__()
                self._parent, self._folder = parent, folder
            mode = os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode):
                raise not_regular(mode)
            descriptor = os.open(name, _FILE_FLAGS, dir_fd=self._folder)
        except OSError as error:
            raise path_error(error) from error
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return descriptor
        os.close(descriptor)
        raise not_regular(mode)

    def read(self, real: str, limit: int | None = None) -> tuple[bytes, os.stat_result]:
        """Read a regular file, up to one byte past `limit`.

        Returns:
            Its bytes, and the result of `fstat` before they were read.

        Raises:
            PathError: as `open`.
        """
        descriptor = self.open(real)
        try:
            status = os.fstat(descriptor)
            size = status.st_size if limit is None else min(status.st_size, limit)
            data = os.read(descriptor, size + 1)
            while len(data) <= size and (
                more := os.read(descriptor, size + 1 - len(data))
            ):
                data += more  # network disks may answer in parts
            return data, status
        except OSError as error:
            raise path_error(error) from error
        finally:
            os.close(descriptor)


def open_folder(root: str, real: str) -> int:
    """Open a folder by its real path, link-free from the root down.

    Returns:
        A descriptor for `dir_fd`; the caller closes it.

    Raises:
        OSError: a component is missing, is not a folder, or has become a link.
    """
    folder = os.open(root, _FOLDER_FLAGS)
    for part in real.split("/"):
        if part in ("", "."):
            continue
        try:
            inner = os.open(part, _FOLDER_FLAGS, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def read_file(root: Path, relative: str, limit: int | None = None) -> bytes:
    """Read one regular file held inside the dataset's root.

    Args:
        root: the dataset's root.
        relative: posix path relative to it, such as the table's `image` column.
        limit: bytes after which reading stops, one more than this is returned.

    Raises:
        AnnotationError: the root or the file cannot be used; the message says why.
    """
    base = real_root(root)
    try:
        with ConfinedFiles(base) as files:
            return files.read(resolve(base, relative), limit)[0]
    except PathError as error:
        raise PathError(error.reason, f"{relative}: {error}") from error


def read_validated(
    root: Path, relative: str, sha256: str, limit: int | None = None
) -> bytes:
    """Read one validated image and make sure that it has not changed since.

    Args:
        root: the dataset's root.
        relative: the table's `image`.
        sha256: the table's `image_sha256`, hex.
        limit: the most bytes that it may have.

    Raises:
        AnnotationError: the file cannot be used, or has changed.
    """
    data = read_file(root, relative, limit)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AnnotationError(
            f"{root / relative}: the file has changed since it was validated; "
            "materialize validated_annotations again"
        )
    return data


def signature(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return the values that change when a file does.

    These are its device, inode, size, mtime (ns) and ctime (ns).
    """
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
