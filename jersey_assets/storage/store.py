"""Publishes and reads artifacts: version folders, manifests and a pointer.

`<root>/<asset>/<version>/` holds an artifact's files and its `manifest.json`;
`<root>/<asset>/current.json` names the version that readers use. The pointer is
replaced atomically, after everything it names is on disk: a reader sees the complete
old version or the complete new one, and a killed run leaves at most a folder that
nothing points to. The root is a path or any fsspec URL.

Moving the pointer or removing a version holds the asset's lock from reading to writing,
so that no version is removed while another process is about to point to it. The lock is
local to this machine, even for URLs: it does not keep other machines out. Readers take
no lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from jersey_assets.storage.errors import (
    GoneError,
    StorageError,
    UnreadableError,
    reading,
    unless_damaged,
    writing,
)
from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.manifest import (
    MANIFEST,
    Artifact,
    Origin,
    canonical_json,
    describe_file,
    describe_folder,
    read_manifest,
    stored_versions,
)
from jersey_assets.storage.retention import mark_inputs, prune
from jersey_assets.storage.roots import Root, open_root

CURRENT = "current.json"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Store:
    """The artifacts of one graph.

    Attributes:
        root: a path or an fsspec URL.
        keep: versions of an asset that are kept when a new one is published.
        keep_releases: the same for `released_model`.
        published: where a run records the versions that it publishes, by asset, and
            reads them from then on, so that two concurrent runs each use their own;
            None: read the current versions.
    """

    root: str
    keep: int = 5
    keep_releases: int = 20
    published: dict[str, str] | None = None

    def current(self, asset: str) -> Artifact | None:
        """Reads the asset's current version, or returns None if there is none yet.

        Raises:
            StorageError: the version is damaged.
        """
        return self._read_pointed(asset, self.read)

    def manifest(self, asset: str) -> Mapping[str, Any] | None:
        """Reads the manifest of the asset's current version, but not its files.

        Raises:
            StorageError: the manifest is damaged.
        """
        return self._read_pointed(asset, partial(read_manifest, self.opened))

    def require(self, asset: str) -> Artifact:
        """Reads the asset's current version.

        Raises:
            StorageError: there is none, or it is damaged.
        """
        artifact = self.current(asset)
        if artifact is None:
            raise StorageError(
                f"{self.root} has no {asset} yet; materialize {asset} first"
            )
        return artifact

    def read(self, asset: str, version: str) -> Artifact:
        """Reads a version and checks every file's digest.

        Raises:
            StorageError: a file is missing, or differs from the manifest.
        """
        manifest = read_manifest(self.opened, asset, version)
        files, digest = manifest["files"], manifest["digest"]
        location = f"{self.opened.location}/{asset}/{version}"
        with reading(asset, location):
            folder = self.opened.copy(f"{asset}/{version}", digest, list(files))
            for name, entry in files.items():
                if describe_file(folder / name) != entry:
                    self.opened.drop_copy(folder)
                    raise StorageError(
                        f"{location}/{name} is not the file that was published: its "
                        f"digest differs; materialize {asset} again"
                    )
        return Artifact(asset, version, folder, location, manifest)

    def publish(
        self,
        asset: str,
        origin: Origin,
        make: Callable[[Path], None],
        facts: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Makes an artifact and points readers to it, unless it exists already.

        Args:
            asset: the asset's name.
            origin: what determines the content; if an intact version has the same
                origin, readers are pointed to it and `make` is not called.
            make: writes the files into the given empty folder.
            facts: goes into the manifest (run id and the like).

        Raises:
            StorageError: the store cannot be written.
        """
        with ExitStack() as staged:
            with self._alone(asset):
                existing = self.find(asset, key=origin.key())
                if existing is not None:
                    if self._pointed(asset) != existing.version:
                        self._flip(asset, existing.version)
                    self._note(asset, existing.version)
                    return existing
                with writing(asset, self.root):
                    staging = staged.enter_context(self.opened.staging(asset))
            make(staging)
            with self._alone(asset):
                with writing(asset, self.root):
                    manifest = describe_folder(asset, staging, origin, facts or {})
                    self._install(staging, manifest)
                previous = self._pointed(asset)
                self._flip(asset, manifest["version"])
                self._note(asset, manifest["version"])
                self._prune(asset, {manifest["version"], previous})
                return self.read(asset, manifest["version"])

    def find(self, asset: str, **wanted: str) -> Artifact | None:
        """Finds the newest intact version whose manifest has these values.

        Raises:
            UnreadableError: the store cannot be read now.
        """
        named = wanted.get("version")
        for version in [named] if named else reversed(self.versions(asset)):
            with unless_damaged():
                manifest = read_manifest(self.opened, asset, version)
                if wanted.items() <= manifest.items():
                    return self.read(asset, version)
        return None

    def intact(self, asset: str) -> Artifact | None:
        """Reads the current version, or returns None if it is missing or damaged.

        Raises:
            UnreadableError: the store cannot be read now.
        """
        with unless_damaged():
            return self.current(asset)
        return None

    def point(self, asset: str, version: str) -> None:
        """Points readers to a version that exists.

        Raises:
            StorageError: the version is missing or damaged.
        """
        with self._alone(asset):
            self.require_version(asset, version)
            self._flip(asset, version)

    def require_version(self, asset: str, version: str) -> Artifact:
        """Reads a version by its name.

        Raises:
            StorageError: it does not exist, or is damaged.
        """
        if version not in (known := self.versions(asset)):
            there = ", ".join(known)
            raise StorageError(f"{asset} has no version {version}; it has: {there}")
        return self.read(asset, version)

    def write_note(self, asset: str, name: str, content: Any) -> None:
        """Replaces a JSON file beside an asset's versions in one step.

        Leftovers of killed writers are removed.

        Args:
            asset: the asset's name; empty for a file beside the assets.
            name: the file's.
            content: an object.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._alone(asset or name):
            self._replace(asset, name, content)
            with writing(asset or name, self.root):
                self.opened.sweep_file(_note_path(asset, name))

    def read_note(self, asset: str, name: str) -> Any:
        """Reads a JSON file beside an asset's versions; None if there is none.

        Raises:
            StorageError: it cannot be read, or is not a JSON object.
        """
        path = _note_path(asset, name)
        target = f"{self.opened.location}/{path}"
        try:
            content = json.loads(self.opened.read(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableError(f"cannot read {target}: {error}") from error
        except ValueError as error:
            raise StorageError(f"{target} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise StorageError(f"{target} is damaged: it is not a JSON object")
        return content

    def versions(self, asset: str) -> list[str]:
        """Names of the stored versions, oldest first."""
        return stored_versions(self.opened, asset)

    def cache_file(self, name: str) -> Path | None:
        """Path of a file beside the artifacts that is safe to delete; None for URLs."""
        cache = self.opened.cache
        return cache and cache / name

    def supplied(self, folder: str, *names: str) -> bytes:
        """Reads a file that users put beside the artifacts.

        Args:
            folder: its folder, below the root.
            names: names to look for, in this order.

        Raises:
            StorageError: none of them exists.
        """
        for name in names:
            with suppress(FileNotFoundError):
                return self.opened.read(f"{folder}/{name}")
        raise StorageError(
            f"{self.opened.location}/{folder} has no {' or '.join(names)}; it has: "
            f"{', '.join(sorted(self.opened.files(folder))) or 'no files'}"
        )

    def scratch(self) -> Path:
        """Folder on this machine for locks and unfinished work, one for each root."""
        return self.opened.scratch

    @cached_property
    def opened(self) -> Root:
        """The root, opened."""
        return open_root(self.root)

    @contextmanager
    def _alone(self, asset: str) -> Iterator[None]:
        """Keeps others on this machine from changing the asset's versions."""
        lock = self.opened.scratch / "locks" / asset
        with ExitStack() as held:
            with writing(asset, self.root):
                held.enter_context(one_at_a_time(lock, f"a change of {asset}"))
            yield

    def _install(self, staging: Path, manifest: Mapping[str, Any]) -> None:
        """Puts finished files into their version folder; nothing points to it yet."""
        (staging / MANIFEST).write_bytes(canonical_json(manifest))
        mark_inputs(self.opened, manifest)
        folder = f"{manifest['asset']}/{manifest['version']}"
        self.opened.install(staging, folder, [*manifest["files"], MANIFEST])

    def _prune(self, asset: str, spared: set[str | None]) -> None:
        """Removes old versions, except those to roll back to and this run's own."""
        keep = self.keep_releases if asset == "released_model" else self.keep
        spared |= {self._pointed(asset), *(self.published or {}).values()}
        prune(self.opened, asset, keep, spared)

    def _flip(self, asset: str, version: str) -> None:
        self._replace(asset, CURRENT, {"version": version})

    def _replace(self, asset: str, name: str, content: Any) -> None:
        with writing(asset or name, self.root):
            self.opened.replace(_note_path(asset, name), canonical_json(content))

    def _read_pointed(self, asset: str, read: Callable[[str, str], _T]) -> _T | None:
        """Reads the current version, which may change while it is read."""
        version = self._current_version(asset)
        while version is not None:
            try:
                return read(asset, version)
            except GoneError:
                before, version = version, self._current_version(asset)
                if version == before:
                    raise
        return None

    def _current_version(self, asset: str) -> str | None:
        """The version to read, damaged or not, None if there is none yet."""
        if self.published and asset in self.published:
            return self.published[asset]
        return self.pointed(asset)

    def _pointed(self, asset: str) -> str | None:
        with suppress(StorageError):
            return self.pointed(asset)
        return None

    def pointed(self, asset: str) -> str | None:
        """The version that readers are pointed to, damaged or not; None: none yet.

        Raises:
            StorageError: the pointer cannot be read, or is damaged.
        """
        pointer = self.read_note(asset, CURRENT)
        if pointer is None:
            return None
        version = pointer.get("version")
        if not isinstance(version, str):
            where = f"{self.opened.location}/{asset}/{CURRENT}"
            raise StorageError(f"{where} is damaged: it names no version")
        return version

    def _note(self, asset: str, version: str) -> None:
        if self.published is not None:
            self.published[asset] = version


def _note_path(asset: str, name: str) -> str:
    return f"{asset}/{name}" if asset else name
