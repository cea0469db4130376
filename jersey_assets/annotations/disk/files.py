"""Files of a dataset: found, held inside the root and read without surprises.

Everything of this room that touches the disk goes through here. A path is resolved
first and opened after, component by component and without following links, so that
nothing outside the root is opened even while someone swaps links underneath; whatever
is not a regular file (FIFO, socket, device, folder) is refused before it is opened.
Needs the standard library only: a sensor calls `fingerprint` on every tick.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
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
        raise PathError(error.reason, f"{relative}: {error}") from error
    except OSError as error:
        raise path_error(error, relative) from error


def read_validated(
    root: Path, relative: str, sha256: str, limit: int | None = None
) -> bytes:
    """Read one image that was validated, and make sure that it still is that image.

    Args:
        root: the dataset's root.
        relative: the table's `image`.
        sha256: the table's `image_sha256`, hex.
        limit: bytes that it may have.

    Raises:
        AnnotationError: the file cannot be used, or has changed.
    """
    data = read_file(root, relative, limit)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AnnotationError(
            f"{root / relative}: changed since it was validated; "
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
    """Find every `*.jsonl` below the splits' folders, up to `MAX_DEPTH` deep.

    Links are followed where they stay inside the root, after everything was found that
    lies in the splits' folders themselves: what a link leads to is listed once, and
    where it lies decides its split. A link to annotations that are listed already, and
    whatever cannot be read, is listed with its reason. Nothing but folders is opened.

    Returns:
        Files ordered by split (train, valid, test), then by path.

    Raises:
        AnnotationError: the root is missing or not a folder.
    """
    walk = _Walk(real_root(root))
    return sorted(walk.files(), key=lambda file: (SPLITS.index(file.split), file.path))


@dataclass(frozen=True)
class _Link:
    """A name that leads, inside the root, to what has another name of its own."""

    split: str
    path: str
    real: str
    mode: int


class _Walk:
    """One look through the splits' folders: real files and folders first, then links.

    Each real file and folder is taken once, so that links cannot loop and the order in
    which a disk lists names decides nothing.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._found: list[AnnotationFile] = []
        self._links: list[_Link] = []
        self._again: list[_Link] = []
        # Under which name each real path is taken; no link makes the root a split.
        self._taken = {".": "."}

    def files(self) -> list[AnnotationFile]:
        """Return what lies there."""
        for name, split in SPLIT_FOLDERS.items():
            if os.path.islink(os.path.join(self._base, name)):
                self._add_top_link(split, name)
            elif os.path.lexists(os.path.join(self._base, name)):
                self._look_through(split, name, name)
        while self._links:
            links, self._links = self._links, []
            for link in sorted(
                links,
                key=lambda at: ("/" in at.path, SPLITS.index(at.split), at.path),
            ):
                self._follow_link(link)
        return [*self._found, *self._told_again()]

    def _add_top_link(self, split: str, name: str) -> None:
        try:
            real = resolve(self._base, name)
        except PathError as error:
            self._found.append(_unusable(split, name, error))
        else:
            self._links.append(_Link(split, name, real, stat.S_IFDIR))

    def _follow_link(self, link: _Link) -> None:
        if link.real in self._taken:
            self._again.append(link)
        elif stat.S_ISDIR(link.mode):
            self._look_through(link.split, link.path, link.real)
        else:
            split = SPLIT_FOLDERS.get(link.real.split("/", 1)[0], link.split)
            self._add_file(split, link.path, link.real, link.mode)

    def _look_through(self, split: str, top: str, real_top: str) -> None:
        """Take all real files and folders from here on, and note the links."""
        waiting = [(top, real_top)]
        while waiting:
            path, real = waiting.pop()
            if real in self._taken:
                self._again.append(_Link(split, path, real, stat.S_IFDIR))
                continue
            self._taken[real] = path
            try:
                for entry in self._entries(path, real):
                    child = f"{path}/{entry.name}", f"{real}/{entry.name}"
                    if entry.is_symlink():
                        self._add_link(split, *child)
                        continue
                    if entry.name.lower().endswith(".jsonl"):
                        self._add_file(split, *child, _kind(entry))
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(child)
            except (PathError, OSError, UnicodeEncodeError) as error:
                self._found.append(_unusable(split, path, error))

    def _entries(self, path: str, real: str) -> Iterator[os.DirEntry[str]]:
        """List a folder; raises OSError, PathError and UnicodeEncodeError."""
        f"{path}{real}".encode()
        if max(path.count("/"), real.count("/")) > MAX_DEPTH:
            raise PathError(
                "path.unreadable",
                f"folders nest deeper than {MAX_DEPTH} here and what lies below is "
                "not read; move it up, or out of the dataset",
            )
        folder = open_folder(self._base, real)
        try:
            with os.scandir(folder) as entries:
                yield from entries
        finally:
            os.close(folder)

    def _add_link(self, split: str, path: str, real: str) -> None:
        annotates = path.lower().endswith(".jsonl")
        try:
            real = resolve(self._base, real)
            mode = os.lstat(os.path.join(self._base, real)).st_mode
        except (PathError, OSError):
            mode = 0
        if stat.S_ISDIR(mode) or (annotates and stat.S_ISREG(mode)):
            self._links.append(_Link(split, path, real, mode))
        if annotates and not stat.S_ISREG(mode):
            self._found.append(_unusable(split, path, not_regular(mode)))

    def _add_file(self, split: str, path: str, real: str, mode: int) -> None:
        if real in self._taken:
            self._again.append(_Link(split, path, real, mode))
            return
        try:
            f"{path}{real}".encode()
            if not stat.S_ISREG(mode):
                raise not_regular(mode)
        except (PathError, UnicodeEncodeError) as error:
            self._found.append(_unusable(split, path, error))
        else:
            self._taken[real] = path
            self._found.append(AnnotationFile(split, path, real))

    def _told_again(self) -> Iterator[AnnotationFile]:
        """Name the links to annotations that are listed already.

        A link to a folder of images alone is worth no word.
        """
        holding = {"."}
        for file in self._found:
            parent = file.real or file.path
            while parent and parent not in holding:
                holding.add(parent)
                parent = os.path.dirname(parent)
        named = {file.path for file in self._found}
        for link in self._again:
            if link.real in holding and link.path not in named:
                yield self._linked(link)

    def _linked(self, link: _Link) -> AnnotationFile:
        name = self._taken[link.real]
        target = "the dataset's root" if name == "." else shorten_path(link.real)
        also = "" if name == link.real else f" as {shorten_path(name)}"
        return AnnotationFile(
            link.split,
            _readable(link.path),
            reason="file.linked",
            message=f"a link leads from here to {target}, which is read already{also}; "
            "nothing is read through the link, delete it",
        )


def _kind(entry: os.DirEntry[str]) -> int:
    """Return an entry's kind, asking the disk only where its folder does not say."""
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return entry.stat(follow_symlinks=False).st_mode


def _unusable(split: str, path: str, error: Exception) -> AnnotationFile:
    if isinstance(error, UnicodeEncodeError):
        error = PathError("path.unreadable", "its name is not UTF-8; rename it")
    elif isinstance(error, OSError):
        error = path_error(error)
    assert isinstance(error, PathError)
    outside = error.reason in ("path.not_regular", "path.symlink_escape")
    reason = "file.not_regular" if outside else "file.unreadable"
    return AnnotationFile(split, _readable(path), reason=reason, message=str(error))


def _readable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


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
