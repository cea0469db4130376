"""Reads and writes an artifact root: a local folder, or an fsspec URL.

All paths are below the root, with slashes. Nothing here knows about manifests. What
cannot be read or written raises `OSError`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from jersey_assets.files import cache_folder, remove_partial, replace_file, sync
from jersey_assets.storage.errors import GONE
from jersey_assets.storage.lock import claim, is_claimed

_STAGING = ".staging-"
_REMOVED = ".removed-"
_COPY_LIFETIME_S = 30 * 24 * 3600


class Root(Protocol):
    """A place for artifacts."""

    @property
    def location(self) -> str:
        """Its name in messages."""

    @property
    def scratch(self) -> Path:
        """Folder on this machine for what outlives a run but is not an artifact.

        It holds locks and unfinished work, beside the artifacts if they are on disk.
        """

    @property
    def cache(self) -> Path | None:
        """Folder beside the artifacts that is safe to delete; None for URLs."""

    def read(self, path: str) -> bytes:
        """Content of a file."""

    def replace(self, path: str, content: bytes) -> None:
        """Writes a file, and its folders, so that readers see all of it or none."""

    def touch(self, path: str) -> None:
        """Creates an empty file, and its folders."""

    def remove(self, path: str) -> None:
        """Removes a file, which may already be gone."""

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder, which may not exist."""

    def files(self, path: str) -> list[str]:
        """Names of the files in a folder, which may not exist."""

    def staging(self, folder: str) -> AbstractContextManager[Path]:
        """Yields an empty local folder to prepare another in, and removes it."""

    def install(self, staging: Path, folder: str, names: list[str]) -> None:
        """Creates a folder from the prepared files; the last named one is put last."""

    def copy(self, folder: str, key: str, names: list[str]) -> Path:
        """Returns a local folder with these files, which no longer change.

        Args:
            folder: where they are.
            key: the same only for the same files.
            names: of the files.
        """

    def drop_copy(self, copy: Path) -> None:
        """Drops a damaged copy, so that the next one is made again."""

    def remove_folder(self, folder: str, first: str) -> None:
        """Removes a folder; as long as its file `first` exists, it is complete."""

    def sweep(self, folder: str) -> None:
        """Removes leftovers of killed processes and of `remove_folder` in a folder."""

    def sweep_file(self, path: str) -> None:
        """Removes leftovers of killed writers of a file; nobody may be writing it."""


def open_root(root: str) -> Root:
    """Opens a root by its path or URL.

    Raises:
        ValueError, ImportError: the URL's driver is unknown, or not installed.
    """
    path = local_path(root)
    return UrlRoot(root) if path is None else LocalRoot(path)


def local_path(root: str) -> Path | None:
    """The folder that a path or `file://` URL names; None for other URLs."""
    path = root.removeprefix("file://").removeprefix("local://")
    return None if "://" in path else Path(path)


def cached_for(kind: str, url: str) -> Path:
    """Folder for one URL in the user's cache folder; it may not exist yet."""
    return cache_folder(kind) / hashlib.sha256(url.encode()).hexdigest()[:16]


class LocalRoot:
    """A local folder.

    New folders are renamed into place once their content is synced, and old ones are
    renamed to hidden names before they are removed.
    """

    def __init__(self, path: Path) -> None:
        """Takes the folder, which need not exist."""
        self._path = path.expanduser().absolute()
        self.location = str(self._path)
        self.scratch = self._path / ".scratch"
        self.cache = self._path / ".cache"

    def read(self, path: str) -> bytes:
        """See `Root`."""
        return (self._path / path).read_bytes()

    def replace(self, path: str, content: bytes) -> None:
        """See `Root`."""
        target = self._path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)

    def touch(self, path: str) -> None:
        """See `Root`."""
        target = self._path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        sync(target.parent)

    def remove(self, path: str) -> None:
        """See `Root`."""
        (self._path / path).unlink(missing_ok=True)

    def folders(self, path: str) -> list[str]:
        """See `Root`."""
        return [e.name for e in self._entries(path) if e.is_dir(follow_symlinks=False)]

    def files(self, path: str) -> list[str]:
        """See `Root`."""
        return [e.name for e in self._entries(path) if e.is_file(follow_symlinks=False)]

    @contextmanager
    def staging(self, folder: str) -> Iterator[Path]:
        """See `Root`; on the same disk, so that it can be renamed into place."""
        staging = self._path / folder / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir(parents=True)
        with claim(staging):
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def install(self, staging: Path, folder: str, names: list[str]) -> None:
        """See `Root`."""
        for name in names:
            sync(staging / name)
        sync(staging)
        target = self._path / folder
        os.rename(staging, target)
        sync(target.parent)

    def copy(self, folder: str, key: str, names: list[str]) -> Path:
        """See `Root`; the files themselves."""
        return self._path / folder

    def drop_copy(self, copy: Path) -> None:
        """See `Root`; damaged files stay for people to look at."""

    def remove_folder(self, folder: str, first: str) -> None:
        """See `Root`; `sweep` removes the rest."""
        path = self._path / folder
        os.rename(path, path.with_name(f"{_REMOVED}{path.name}"))

    def sweep(self, folder: str) -> None:
        """See `Root`."""
        for entry in self._entries(folder):
            path = Path(entry.path)
            if entry.name.startswith((_STAGING, _REMOVED)) and not is_claimed(path):
                shutil.rmtree(path)
        remove_partial(self._path / folder)

    def sweep_file(self, path: str) -> None:
        """See `Root`."""
        target = self._path / path
        remove_partial(target.parent, target.name)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        with suppress(*GONE), os.scandir(self._path / folder) as entries:
            return list(entries)
        return []


class UrlRoot:
    """A folder at an fsspec URL, where an object is put as a whole or not at all."""

    cache = None

    def __init__(self, url: str) -> None:
        """Finds the driver; does not contact the service yet."""
        import fsspec  # a tenth of a second that local roots do not need

        self._url = url
        self._fs: Any
        self._fs, path = fsspec.url_to_fs(url)
        self.location = str(path).rstrip("/")

    @property
    def scratch(self) -> Path:
        """See `Root`; in the user's cache folder."""
        return cached_for("scratch", self._url)

    def read(self, path: str) -> bytes:
        """See `Root`."""
        content: bytes = self._fs.cat_file(self._at(path))
        return content

    def replace(self, path: str, content: bytes) -> None:
        """See `Root`."""
        self._fs.pipe_file(self._at(path), content)

    def touch(self, path: str) -> None:
        """See `Root`."""
        self.replace(path, b"")

    def remove(self, path: str) -> None:
        """See `Root`."""
        with suppress(*GONE):
            self._fs.rm_file(self._at(path))

    def folders(self, path: str) -> list[str]:
        """See `Root`."""
        return self._names(path, "directory")

    def files(self, path: str) -> list[str]:
        """See `Root`."""
        return self._names(path, "file")

    @contextmanager
    def staging(self, folder: str) -> Iterator[Path]:
        """See `Root`."""
        with tempfile.TemporaryDirectory(prefix="jersey-") as name:
            yield Path(name)

    def install(self, staging: Path, folder: str, names: list[str]) -> None:
        """See `Root`."""
        for name in names:
            self.replace(f"{folder}/{name}", (staging / name).read_bytes())

    def copy(self, folder: str, key: str, names: list[str]) -> Path:
        """See `Root`; fetched once, and kept until nobody has read it for a month."""
        copy = cache_folder("artifacts") / key
        if copy.is_dir():
            os.utime(copy)
            return copy
        _remove_unread(copy.parent)
        partial = Path(tempfile.mkdtemp(dir=copy.parent))
        for name in names:
            (partial / name).write_bytes(self.read(f"{folder}/{name}"))
        try:
            partial.rename(copy)
        except OSError:  # another process fetched it meanwhile
            shutil.rmtree(partial)
        return copy

    def drop_copy(self, copy: Path) -> None:
        """See `Root`."""
        shutil.rmtree(copy)

    def remove_folder(self, folder: str, first: str) -> None:
        """See `Root`."""
        with suppress(*GONE):
            self.remove(f"{folder}/{first}")
            self._fs.rm(self._at(folder), recursive=True)

    def sweep(self, folder: str) -> None:
        """See `Root`; nothing half is ever put."""

    def sweep_file(self, path: str) -> None:
        """See `Root`; nothing half is ever put."""

    def _at(self, path: str) -> str:
        return f"{self.location}/{path}"

    def _names(self, path: str, kind: str) -> list[str]:
        try:
            entries = self._fs.ls(self._at(path), detail=True, refresh=True)
        except GONE:
            return []
        names = (entry["name"] for entry in entries if entry["type"] == kind)
        return [name.rstrip("/").rsplit("/", 1)[-1] for name in names]


def _remove_unread(folder: Path) -> None:
    """Removes copies that nobody has read for a month."""
    for copy in folder.iterdir():
        with suppress(OSError):
            if time.time() - copy.stat().st_mtime > _COPY_LIFETIME_S:
                shutil.rmtree(copy, ignore_errors=True)
