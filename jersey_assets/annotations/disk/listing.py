"""Lists the annotation files (`*.jsonl`) below a dataset's root, links included.

Nothing but folders is opened to list them. Needs the standard library only: a sensor
lists them on every tick.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jersey_assets.annotations.disk.confined import (
    ConfinedFiles,
    open_folder,
    real_root,
    resolve,
)
from jersey_assets.annotations.disk.errors import PathError, not_regular, path_error
from jersey_assets.text import shorten_path

SPLIT_FOLDERS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
SPLITS = ("train", "valid", "test")

MAX_DEPTH = 64
"""How many levels of folders below a split's folder are searched."""


@dataclass(frozen=True)
class AnnotationFile:
    """One `*.jsonl` below a split's folder, or a folder that cannot be listed.

    Attributes:
        split: `train`, `valid` or `test`.
        path: posix path relative to the root, as found.
        real: the same after links are resolved; empty if it cannot be used.
        reason: a `file.*` code if it cannot be read, else None.
        message: what is wrong and what to do, else empty.
    """

    split: str
    path: str
    real: str = ""
    reason: str | None = None
    message: str = ""


def list_annotation_files(root: Path) -> list[AnnotationFile]:
    """Find every `*.jsonl` below the splits' folders, up to `MAX_DEPTH` deep.

    Links that stay inside the root are followed after everything in the splits' own
    folders has been found: the target of a link is listed once, and its place decides
    its split. Links to annotations that are already listed, and everything that cannot
    be read, are listed with a reason. Nothing but folders is opened.

    Returns:
        Files ordered by split (train, valid, test), then by path.

    Raises:
        AnnotationError: the root is missing or not a folder.
    """
    walk = _Walk(real_root(root))
    return sorted(walk.files(), key=lambda file: (SPLITS.index(file.split), file.path))


def open_annotation_file(base: str, file: AnnotationFile) -> io.FileIO:
    """Open a listed file, unbuffered.

    Raises:
        PathError: it was listed as unusable, or has changed since.
    """
    if file.reason:
        raise PathError(file.reason, file.message)
    with ConfinedFiles(base) as files:
        return io.FileIO(files.open(file.real))


@dataclass(frozen=True)
class _Link:
    """A link that leads to another place inside the root."""

    split: str
    path: str
    real: str
    mode: int


class _Walk:
    """One walk through the splits' folders: real files and folders first, then links.

    Each real file and folder is taken once, so that links cannot loop and the order in
    which the disk lists names does not matter.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._found: list[AnnotationFile] = []
        self._links: list[_Link] = []
        self._again: list[_Link] = []
        # The name of each real path that was taken; no link makes the root a split.
        self._taken = {".": "."}

    def files(self) -> list[AnnotationFile]:
        """Return the annotation files that were found."""
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
        """Take all real files and folders below this one, and note the links."""
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
                f"folders are nested more than {MAX_DEPTH} deep here, and the files "
                "below are not read; move them up, or out of the dataset",
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
        """Name the links to annotations that are already listed.

        A link to a folder that holds only images is not worth mentioning.
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
            message=f"this is a link to {target}, which is already read{also}; "
            "nothing is read through the link, so delete it",
        )


def _kind(entry: os.DirEntry[str]) -> int:
    """Return an entry's kind; stat it only if the folder's listing has no kind."""
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
