"""Errors of a dataset's files and paths: messages, and their `path.*` codes."""

from __future__ import annotations

import errno
import os
import stat


class AnnotationError(ValueError):
    """The dataset's root, or a requested file, cannot be used."""


class PathError(AnnotationError):
    """A path inside the dataset cannot be opened.

    Attributes:
        reason: one of the `path.*` codes.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Keep the code beside the message."""
        super().__init__(message)
        self.reason = reason


def not_regular(mode: int) -> PathError:
    """Say what was found in place of a regular file."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFLNK: "a link",
    }
    kind = kinds.get(
        stat.S_IFMT(mode), "a link that leads out of the dataset or nowhere"
    )
    return PathError("path.not_regular", f"this is {kind}; name a regular file")


def path_error(error: OSError, where: str = "") -> PathError:
    """Translate the operating system's error about a path."""
    place = f"{where}: " if where else ""
    if error.errno == errno.ENOTDIR:
        return PathError(
            "path.missing", f"{place}a folder of this path is a file; correct the path"
        )
    if error.errno == errno.ENOENT:
        return PathError(
            "path.missing",
            f"{place}there is no such file; add it or correct the path",
        )
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
        return PathError("path.invalid", f"{place}no file can have this name")
    if error.errno == errno.ENXIO:
        return PathError(
            "path.not_regular", f"{place}this is a socket; name a regular file"
        )
    detail = os.strerror(error.errno) if error.errno else str(error)
    return PathError(
        "path.unreadable",
        f"{place}cannot be read ({detail.lower()}); check links and permissions",
    )
