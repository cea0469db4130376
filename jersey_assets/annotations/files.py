"""Files of a dataset: found, held inside the root and read without surprises.

Everything of this room that touches the disk goes through here. A path is resolved
first and opened after, component by component and without following links, so that
nothing outside the root is opened even while someone swaps links underneath; whatever
is not a regular file (FIFO, socket, device, folder) is refused before it is opened.
Imports the standard library only: a sensor calls `fingerprint` on every tick.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jersey_assets.text import shorten_path

SPLIT_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
SPLITS = ("train", "valid", "test")

MAX_DEPTH = 64
"""Folders below a split's, one inside the other, that are looked into."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20


class AnnotationError(ValueError):
    """The dataset's root, or a file asked for by name, cannot be used."""


class PathError(AnnotationError):
    """A path inside the dataset cannot be opened.

    Attributes:
        reason: one of the `path.*` codes.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Keep the code beside the sentence."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class AnnotationFile:
    """One `*.jsonl` below a split's folder, or a folder that cannot be looked into.

    Attributes:
        split: `train`, `valid` or `test`.
        path: posix path relative to the root, as found.
        real: the same after links are resolved; empty where it is unusable.
        reason: a `file.*` code where it cannot be read, else None.
        message: what is wrong and what to do, else empty.
    """

    split: str
    path: str
    real: str = ""
    reason: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Fingerprint:
    """What lies on disk: changes when any JSONL file's name or content changes."""

    digest: str
    files: int
    bytes: int


def real_root(root: Path) -> str:
    """Resolve the dataset's root; raises AnnotationError where it is no folder."""
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
        The real path relative to the root. Whether it exists is not said.

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
            "path.unreadable", "a chain of too many links; name the file itself"
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


def open_folder(root: str, real: str) -> int:
    """Open a folder by its real path, link-free from the root down.

    Returns:
        A descriptor for `dir_fd`; the caller closes it.

    Raises:
        OSError: a component is missing, no folder, or became a link meanwhile.
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


def open_regular(folder: int, name: str) -> int:
    """Open a regular file of an open folder, without waiting and without links.

    Returns:
        A descriptor; the caller closes it.

    Raises:
        PathError: `path.missing`, `path.not_regular` or `path.unreadable`.
    """
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):
            raise not_regular(mode)
        descriptor = os.open(name, _FILE_FLAGS, dir_fd=folder)
    except OSError as error:
        raise path_error(error) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise not_regular(mode)


def read_regular(
    folder: int, name: str, limit: int | None = None
) -> tuple[bytes, os.stat_result]:
    """Read a regular file of an open folder, up to one byte past `limit`.

    Returns:
        Its bytes, and what `fstat` said before they were read.

    Raises:
        PathError: `path.missing`, `path.not_regular` or `path.unreadable`.
    """
    descriptor = open_regular(folder, name)
    try:
        status = os.fstat(descriptor)
        size = status.st_size if limit is None else min(status.st_size, limit)
        data = os.read(descriptor, size + 1)
        while len(data) <= size and (more := os.read(descriptor, size + 1 - len(data))):
            data += more  # network disks may answer in parts
        return data, status
    except OSError as error:
        raise path_error(error) from error
    finally:
        os.close(descriptor)


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
        real = resolve(base, relative)
        parent, name = os.path.split(real)
        folder = open_folder(base, parent)
        try:
            return read_regular(folder, name, limit)[0]
        finally:
            os.close(folder)
    except PathError as error:
        raise PathError(error.reason, f"{shorten_path(relative)}: {error}") from error
    except OSError as error:
        raise path_error(error, shorten_path(relative)) from error


def read_validated(root: Path, relative: str, sha256: str) -> bytes:
    """Read one image that was validated, and make sure that it still is that image.

    Args:
        root: the dataset's root.
        relative: the table's `image`.
        sha256: the table's `image_sha256`, hex.

    Raises:
        AnnotationError: the file cannot be used, or has changed.
    """
    data = read_file(root, relative)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AnnotationError(
            f"{shorten_path(str(root / relative))}: changed since it was validated; "
            "materialize validated_annotations again"
        )
    return data


def not_regular(mode: int) -> PathError:
    """Name what stands where a regular file should."""
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
    """Translate what the system said about a path."""
    place = f"{where}: " if where else ""
    if error.errno == errno.ENOTDIR:
        return PathError(
            "path.missing", f"{place}a file stands where a folder should; correct it"
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


def list_annotation_files(root: Path) -> list[AnnotationFile]:
    """Find every `*.jsonl` below the splits' folders, at any depth.

    Links are followed where they stay inside the root. A file is read once: under its
    own name, or under the first link to it where it has none. What is not read is
    listed too, with its reason. Nothing but folders is opened.

    Returns:
        Files ordered by split (train, valid, test), then by path.

    Raises:
        AnnotationError: the root is missing or not a folder.
    """
    base = real_root(root)
    found: list[AnnotationFile] = []
    for name, split in SPLIT_FOLDERS.items():
        if os.path.lexists(os.path.join(base, name)):
            found.extend(_walk(base, split, name))
    found.sort(key=lambda file: (SPLITS.index(file.split), file.path))
    return _each_once(found)


def _each_once(found: Sequence[AnnotationFile]) -> list[AnnotationFile]:
    """Give a reason to those that only link to a file which another name has."""
    named: dict[str, AnnotationFile] = {}
    for file in found:
        if not file.reason and (file.real not in named or file.path == file.real):
            named[file.real] = file
    return [
        file
        if file.reason or named[file.real] is file
        else AnnotationFile(
            file.split,
            file.path,
            reason="file.linked",
            message="a link leads to it from here, and it is read as "
            f"{shorten_path(named[file.real].path)}; remove the link",
        )
        for file in found
    ]


def _walk(base: str, split: str, top: str) -> Iterator[AnnotationFile]:
    """Look through one split's folder; each real folder once, so links cannot loop."""
    seen: set[str] = set()
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            real = resolve(base, path)
            if real in seen:
                continue
            if max(path.count("/"), real.count("/")) > MAX_DEPTH:
                raise PathError(
                    "path.unreadable",
                    f"folders nest deeper than {MAX_DEPTH} here and what lies below is "
                    "not read; move it up, or out of the dataset",
                )
            seen.add(real)
            folder = open_folder(base, real)
        except (PathError, OSError) as error:
            yield _unusable(split, path, error)
            continue
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    annotates = entry.name.lower().endswith(".jsonl")
                    if not annotates and entry.is_file(follow_symlinks=False):
                        continue
                    child = f"{path}/{entry.name}"
                    behind, mode = _follow(base, f"{real}/{entry.name}", entry)
                    if annotates:
                        yield _annotation_file(split, child, behind, mode)
                    if stat.S_ISDIR(mode):
                        waiting.append(child)
        except OSError as error:
            yield _unusable(split, path, error)
        finally:
            os.close(folder)


def _follow(base: str, real: str, entry: os.DirEntry[str]) -> tuple[str, int]:
    """Say what an entry really is: its real path and kind, no kind if it leads out."""
    if entry.is_file(follow_symlinks=False):
        return real, stat.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return real, stat.S_IFDIR
    try:
        real = resolve(base, real)
        return real, os.lstat(os.path.join(base, real)).st_mode
    except (PathError, OSError):
        return real, 0


def _annotation_file(split: str, path: str, real: str, mode: int) -> AnnotationFile:
    try:
        f"{path}{real}".encode()
        if not stat.S_ISREG(mode):
            raise not_regular(mode)
    except (PathError, UnicodeEncodeError) as error:
        return _unusable(split, path, error)
    return AnnotationFile(split, path, real)


def _unusable(split: str, path: str, error: Exception) -> AnnotationFile:
    readable = os.fsencode(path).decode("utf-8", "backslashreplace")
    if isinstance(error, UnicodeEncodeError):
        error = PathError("path.unreadable", "its name is not UTF-8; rename it")
    elif isinstance(error, OSError):
        error = path_error(error)
    assert isinstance(error, PathError)
    outside = error.reason in ("path.not_regular", "path.symlink_escape")
    reason = "file.not_regular" if outside else "file.unreadable"
    return AnnotationFile(split, readable, reason=reason, message=str(error))


def open_annotation_file(base: str, file: AnnotationFile) -> int:
    """Open a listed file by its real path; raises PathError where it changed since."""
    parent, name = os.path.split(file.real)
    try:
        folder = open_folder(base, parent)
    except OSError as error:
        raise path_error(error) from error
    try:
        return open_regular(folder, name)
    finally:
        os.close(folder)


def fingerprint(root: Path) -> Fingerprint:
    """Digest the names and contents of all annotation files.

    Never waits on a FIFO and holds no more than a chunk of a file in memory.

    Raises:
        AnnotationError: the root is missing or not a folder.
    """
    base = real_root(root)
    contents: list[tuple[str, str]] = []
    size = 0
    for file in list_annotation_files(root):
        content, length = _content_digest(base, file)
        contents.append((file.path, content))
        size += length
    return Fingerprint(digest_of_contents(contents), len(contents), size)


def digest_of_contents(contents: Iterable[tuple[str, str]]) -> str:
    """Digest (path, sha256 or reason) pairs in a way no name can imitate."""
    digest = hashlib.sha256()
    for pair in contents:
        digest.update(json.dumps(pair).encode() + b"\n")
    return digest.hexdigest()


def _content_digest(base: str, file: AnnotationFile) -> tuple[str, int]:
    if file.reason:
        return file.reason, 0
    try:
        descriptor = open_annotation_file(base, file)
    except PathError:
        return "file.unreadable", 0
    digest = hashlib.sha256()
    size = 0
    try:
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError:
        return "file.unreadable", 0
    return digest.hexdigest(), size


def signature(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return what tells whether a file is still the same.

    Its device, inode, size, mtime (ns) and ctime (ns).
    """
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
