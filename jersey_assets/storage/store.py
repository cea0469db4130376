"""The one way to store: version folders, manifests and a pointer written last.

`<root>/<asset>/<version>/` holds an artifact's files and its `manifest.json`;
`<root>/<asset>/current.json` names the version that readers use. The pointer is
replaced atomically, after everything it names is on disk: a reader sees the old
version or the new one, whole, and a killed run leaves nothing but a folder that
nobody names. The root is a path or any fsspec URL.

Whoever points readers elsewhere, or removes a version, holds the asset's lock from the
look to the deed, so that no version is removed that another is about to point to. The
lock is this machine's, for URLs as well: it does not keep other machines out. Readers
take no lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from jersey_assets.files import (
    cache_folder,
    remove_partial,
    replace_file,
    sync,
)
from jersey_assets.storage.lock import claim, is_claimed, one_at_a_time

MANIFEST = "manifest.json"
CURRENT = "current.json"
CHECKS = ".checks.json"
"""Ends the name of the note about a version's checks, which lies beside its folder."""

_STAGING = ".staging-"
_REMOVED = ".removed-"
_COPY_LIFETIME_S = 30 * 24 * 3600

_T = TypeVar("_T")

log = logging.getLogger(__name__)


class StorageError(RuntimeError):
    """An artifact that is missing, damaged or cannot be written."""


class UnreadableError(StorageError):
    """A store that does not answer now, which says nothing about what it holds."""


class GoneError(StorageError):
    """A version that is not, or no longer, there as a whole."""


_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What reading a file raises that is not, or no longer, there."""


@dataclass(frozen=True)
class Artifact:
    """One stored version of an asset, with its files verified and at hand.

    Attributes:
        asset: the asset's name.
        version: name of the version folder.
        folder: local folder that holds the files.
        location: where the version folder lies in the store.
        manifest: the content of `manifest.json`.
    """

    asset: str
    version: str
    folder: Path
    location: str
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Digest over all files: sha256, hex."""
        return str(self.manifest["digest"])

    def file(self, name: str) -> Path:
        """Path of one of the artifact's files.

        Raises:
            StorageError: the artifact has no such file.
        """
        if name not in self.manifest["files"]:
            raise StorageError(f"{self.location} has no file {name}")
        return self.folder / name

    def json(self, name: str) -> Any:
        """Content of one of the artifact's JSON files."""
        return json.loads(self.file(name).read_text("utf-8"))


@dataclass(frozen=True)
class Origin:
    """What an artifact is made from; the same origin gives the same artifact.

    Attributes:
        code_version: digest of the code that makes it.
        inputs: the artifacts that were read.
        settings: everything else that decides the content; JSON values only.
    """

    code_version: str
    inputs: tuple[Artifact, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> str:
        """Digest of the origin: sha256, hex."""
        content = {
            "code_version": self.code_version,
            "inputs": {artifact.asset: artifact.digest for artifact in self.inputs},
            "settings": self.settings,
        }
        return hashlib.sha256(canonical_json(content)).hexdigest()


@dataclass(frozen=True)
class Store:
    """The artifacts of one graph.

    Attributes:
        root: a path or an fsspec URL.
        keep: versions of an asset that stay when a new one is published.
        keep_releases: the same for `released_model`.
        published: where a run notes the versions that it publishes, by asset, and reads
            them from then on, so that two runs at once each keep to their own; None:
            everybody reads what readers are pointed to.
    """

    root: str
    keep: int = 5
    keep_releases: int = 20
    published: dict[str, str] | None = None

    def current(self, asset: str) -> Artifact | None:
        """Reads the asset's current version, or None where there is none yet.

        Raises:
            StorageError: the version is damaged.
        """
        return self._read_pointed(asset, self.read)

    def manifest(self, asset: str) -> Mapping[str, Any] | None:
        """Reads the manifest of the asset's current version, and none of its files.

        Raises:
            StorageError: the manifest is damaged.
        """
        return self._read_pointed(asset, self._manifest)

    def require(self, asset: str) -> Artifact:
        """Reads the asset's current version.

        Raises:
            StorageError: there is none, or it is damaged.
        """
        artifact = self.current(asset)
        if artifact is None:
            raise StorageError(
                f"{self.root} holds no {asset} yet: materialize {asset} first"
            )
        return artifact

    def read(self, asset: str, version: str) -> Artifact:
        """Reads a version and checks every file's digest.

        Raises:
            StorageError: a file is missing, or not what the manifest says.
        """
        location = f"{self._base}/{asset}/{version}"
        manifest = self._manifest(asset, version)
        try:
            folder = self._local_copy(location, manifest)
            for name, entry in manifest["files"].items():
                if _describe_file(folder / name) != entry:
                    if not self._is_local:
                        shutil.rmtree(folder)  # so that the next read fetches it
                    raise StorageError(
                        f"{location}/{name} is not the file that was published: its "
                        f"digest differs; materialize {asset} again"
                    )
        except _GONE as error:
            raise GoneError(
                f"{location} is incomplete ({error}); materialize {asset} again"
            ) from error
        except OSError as error:
            raise UnreadableError(f"cannot read {location}: {error}") from error
        return Artifact(asset, version, folder, location, manifest)

    def publish(
        self,
        asset: str,
        origin: Origin,
        make: Callable[[Path], None],
        facts: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Makes an artifact and points readers to it, unless it is there already.

        Args:
            asset: the asset's name.
            origin: what decides the content; where an intact version has the same
                origin, readers are pointed to it and `make` is not called.
            make: writes the files into the empty folder that it is given.
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
                with self._writing(asset):
                    staging = staged.enter_context(self._staging(asset))
            make(staging)
            with self._alone(asset):
                with self._writing(asset):
                    manifest = _describe_folder(asset, staging, origin, facts or {})
                    self._install(asset, staging, manifest)
                previous = self._pointed(asset)
                self._flip(asset, manifest["version"])
                self._note(asset, manifest["version"])
                self._prune(asset, previous)
                return self.read(asset, manifest["version"])

    def find(self, asset: str, **wanted: str) -> Artifact | None:
        """Finds the newest intact version whose manifest has these values.

        Raises:
            UnreadableError: whether there is one cannot be told now.
        """
        for version in reversed(self.versions(asset)):
            try:
                manifest = self._manifest(asset, version)
                if wanted.items() <= manifest.items():
                    return self.read(asset, version)
            except UnreadableError:
                raise
            except StorageError:
                continue
        return None

    def intact(self, asset: str) -> Artifact | None:
        """Reads the current version, or None where there is none or it is damaged.

        Raises:
            UnreadableError: whether it is cannot be told now.
        """
        try:
            return self.current(asset)
        except UnreadableError:
            raise
        except StorageError:
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
            StorageError: there is none of that name, or it is damaged.
        """
        if version not in (known := self.versions(asset)):
            raise StorageError(
                f"{asset} has no version {version}; there are: {', '.join(known)}"
            )
        return self.read(asset, version)

    def write_note(self, asset: str, name: str, content: Any) -> None:
        """Replaces a JSON file beside an asset's versions in one step.

        Args:
            asset: the asset's name; empty: beside the assets.
            name: the file's.
            content: an object.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._alone(asset or name):
            self._replace(asset, name, content)

    def read_note(self, asset: str, name: str) -> Any:
        """Reads a JSON file beside an asset's versions, or None where there is none.

        Raises:
            StorageError: it cannot be read, or is no JSON object.
        """
        target = self._note_path(asset, name)
        try:
            content = json.loads(self._fs.cat_file(target))
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
        names = self._names(f"{self._base}/{asset}", "directory")
        return sorted(name for name in names if not name.startswith("."))

    def cache_file(self, name: str) -> Path | None:
        """Path of a file beside the artifacts that is safe to delete; None off disk."""
        if not self._is_local:
            return None
        return Path(self._base) / ".cache" / name

    def supplied(self, folder: str, *names: str) -> bytes:
        """Reads a file that people put beside the artifacts.

        Args:
            folder: its folder, below the root.
            names: names to look for, in this order.

        Raises:
            StorageError: there is none of them.
        """
        where = f"{self._base}/{folder}"
        for name in names:
            with suppress(FileNotFoundError):
                data: bytes = self._fs.cat_file(f"{where}/{name}")
                return data
        there = self._fs.ls(where, detail=False) if self._fs.isdir(where) else []
        known = sorted(str(path).rsplit("/", 1)[-1] for path in there)
        raise StorageError(
            f"{where} has no {' or '.join(names)}; there are: "
            f"{', '.join(known) or 'no files'}"
        )

    def scratch(self) -> Path:
        """Folder on this machine for what outlives a run but is no artifact.

        Locks and unfinished work; beside the artifacts where they lie on disk, and
        otherwise in the user's cache folder, one for each root.
        """
        if self._is_local:
            return Path(self._base) / ".scratch"
        name = hashlib.sha256(self.root.encode()).hexdigest()[:16]
        return cache_folder("scratch") / name

    @cached_property
    def _located(self) -> tuple[Any, str]:
        import fsspec  # a tenth of a second that loading the graph does not need

        fs, path = fsspec.url_to_fs(self.root)
        return fs, path.rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._located[0]

    @property
    def _base(self) -> str:
        return str(self._located[1])

    def _note_path(self, asset: str, name: str) -> str:
        return "/".join(filter(None, (self._base, asset, name)))

    @property
    def _is_local(self) -> bool:
        from fsspec.implementations.local import LocalFileSystem

        return isinstance(self._fs, LocalFileSystem)

    @contextmanager
    def _alone(self, asset: str) -> Iterator[None]:
        """Keeps others on this machine from changing the asset's versions."""
        lock = self.scratch() / "locks" / asset
        with ExitStack() as held:
            with self._writing(asset):
                held.enter_context(one_at_a_time(lock, f"a change of {asset}"))
            yield

    @contextmanager
    def _writing(self, asset: str) -> Iterator[None]:
        """Says what could not be written where."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"cannot write {asset} under {self.root}: {error}"
            ) from error

    def _flip(self, asset: str, version: str) -> None:
        self._replace(asset, CURRENT, {"version": version})

    def _replace(self, asset: str, name: str, content: Any) -> None:
        target = self._note_path(asset, name)
        with self._writing(asset or name):
            if self._is_local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                replace_file(Path(target), canonical_json(content))
            else:
                # One object is put whole or not at all.
                self._fs.pipe_file(target, canonical_json(content))

    def _read_pointed(self, asset: str, read: Callable[[str, str], _T]) -> _T | None:
        """Reads what readers are pointed to, which may move on while they read."""
        version = self._current_version(asset)
        while version is not None:
            try:
                return read(asset, version)
            except GoneError:
                before, version = version, self._current_version(asset)
                if version == before:
                    raise
        return None

    def _names(self, folder: str, kind: str) -> list[str]:
        """Names in a folder, which may not exist, of its `directory` or `file`s."""
        try:
            entries = self._fs.ls(folder, detail=True, refresh=True)
        except _GONE:
            return []
        except OSError as error:
            raise UnreadableError(f"cannot list {folder}: {error}") from error
        names = (e["name"] for e in entries if e["type"] == kind)
        return [name.rstrip("/").rsplit("/", 1)[-1] for name in names]

    def _current_version(self, asset: str) -> str | None:
        """The version to read, damaged or not, None where there is none yet."""
        if self.published and asset in self.published:
            return self.published[asset]
        pointer = self.read_note(asset, CURRENT)
        if pointer is None:
            return None
        version = pointer.get("version")
        if not isinstance(version, str):
            raise StorageError(
                f"{self._base}/{asset}/{CURRENT} is damaged: it names no version"
            )
        return version

    def _note(self, asset: str, version: str) -> None:
        if self.published is not None:
            self.published[asset] = version

    def _pointed(self, asset: str) -> str | None:
        """The version that readers are pointed to, None where it cannot be told."""
        try:
            return Store(self.root)._current_version(asset)
        except StorageError:
            return None

    def _manifest(self, asset: str, version: str) -> dict[str, Any]:
        """Reads a manifest, and checks that its digest is that of its files."""
        location = f"{self._base}/{asset}/{version}"
        try:
            manifest: dict[str, Any] = json.loads(
                self._fs.cat_file(f"{location}/{MANIFEST}")
            )
            whole = manifest["digest"] == _digest_of(manifest["files"])
            if not whole or any("/" in name for name in manifest["files"]):
                raise ValueError("its digest is not that of the files it lists")
            if not {"key", "inputs"} <= manifest.keys():
                raise ValueError("it does not say what the files were made from")
        except _GONE as error:
            raise GoneError(
                f"{location} is incomplete ({error}); materialize {asset} again"
            ) from error
        except OSError as error:
            raise UnreadableError(f"cannot read {location}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{location}/{MANIFEST} is damaged: {error}; materialize {asset} again"
            ) from error
        return manifest

    @contextmanager
    def _staging(self, asset: str) -> Iterator[Path]:
        """A folder to write into, on the store's own disk where it has one."""
        if not self._is_local:
            with tempfile.TemporaryDirectory(prefix="jersey-") as name:
                yield Path(name)
            return
        folder = Path(self._base) / asset / f"{_STAGING}{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        with claim(folder):
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _install(self, asset: str, staging: Path, manifest: Mapping[str, Any]) -> None:
        """Moves finished files to their version folder; nobody names it yet."""
        (staging / MANIFEST).write_bytes(canonical_json(manifest))
        target = f"{self._base}/{asset}/{manifest['version']}"
        if not self._is_local:
            for name in [*manifest["files"], MANIFEST]:
                self._fs.pipe_file(f"{target}/{name}", (staging / name).read_bytes())
            return
        for name in [*manifest["files"], MANIFEST]:
            sync(staging / name)
        sync(staging)
        os.rename(staging, target)
        sync(Path(target).parent)

    def _local_copy(self, location: str, manifest: Mapping[str, Any]) -> Path:
        """The version's files on this machine, fetched once where they are remote."""
        if self._is_local:
            return Path(location)
        folder = cache_folder("artifacts") / str(manifest["digest"])
        if folder.is_dir():
            os.utime(folder)
        else:
            _remove_unused(folder.parent)
            partial = Path(tempfile.mkdtemp(dir=folder.parent))
            for name in manifest["files"]:
                (partial / name).write_bytes(self._fs.cat_file(f"{location}/{name}"))
            try:
                partial.rename(folder)
            except OSError:  # another process fetched it meanwhile
                shutil.rmtree(partial)
        return folder

    def _prune(self, asset: str, previous: str | None) -> None:
        """Removes versions past the kept ones, and what killed runs left behind.

        What readers are pointed to stays, and so do the previous version, to go back
        to, however old it is, and what a stored artifact was made from: provenance can
        be walked as long as there is something to walk from.
        """
        keep = self.keep_releases if asset == "released_model" else self.keep
        try:
            pointed = Store(self.root)._current_version(asset)
            needed = self._inputs_of_all() | {pointed, previous}
            needed.update((self.published or {}).values())
            for version in self.versions(asset)[:-keep]:
                if version not in needed:
                    self._remove(asset, version)
            self._remove_answers(asset)
            if self._is_local:
                _sweep(Path(self._base) / asset)
        except (OSError, StorageError) as error:
            # Readers have the new version: what is left goes the next time.
            log.warning("%s keeps what it no longer needs: %s", asset, error)

    def _remove_answers(self, asset: str) -> None:
        """Removes what checks said about versions that are gone."""
        folder = f"{self._base}/{asset}"
        known = {f"{version}{CHECKS}" for version in self.versions(asset)}
        for name in self._names(folder, "file"):
            if name.endswith(CHECKS) and name not in known:
                self._fs.rm_file(f"{folder}/{name}")

    def _inputs_of_all(self) -> set[str | None]:
        """Versions that any stored artifact was made from.

        Raises:
            UnreadableError: it cannot be told now.
        """
        needed: set[str | None] = set()
        for asset in self._names(self._base, "directory"):
            for version in [] if asset.startswith(".") else self.versions(asset):
                try:
                    inputs = self._manifest(asset, version)["inputs"]
                except UnreadableError:
                    raise
                except StorageError:
                    continue
                needed |= {entry["version"] for entry in inputs.values()}
        return needed

    def _remove(self, asset: str, version: str) -> None:
        """Removes a version; no reader sees a part of it."""
        folder = f"{self._base}/{asset}/{version}"
        if self._is_local:
            # Out of sight in one step; `_sweep` takes it from there.
            os.rename(folder, f"{self._base}/{asset}/{_REMOVED}{version}")
            return
        with suppress(*_GONE):
            # The manifest first: without it, no reader takes the rest for a version.
            self._fs.rm_file(f"{folder}/{MANIFEST}")
            self._fs.rm(folder, recursive=True)


def _sweep(folder: Path) -> None:
    """Removes what was put out of sight, and what killed processes left there."""
    for path in folder.iterdir():
        if path.name.startswith((_STAGING, _REMOVED)) and not is_claimed(path):
            shutil.rmtree(path)
    remove_partial(folder)


def _remove_unused(folder: Path) -> None:
    """Removes copies that nobody has read for a month."""
    for copy in folder.iterdir():
        with suppress(OSError):
            if time.time() - copy.stat().st_mtime > _COPY_LIFETIME_S:
                shutil.rmtree(copy, ignore_errors=True)


def canonical_json(value: Any) -> bytes:
    """Writes JSON the one way that digests are taken over."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
    return text.encode("utf-8")


def walk_provenance(store: Store, artifact: Artifact) -> Iterator[Artifact]:
    """Yields the artifact and, once each, all those it was made from.

    Raises:
        StorageError: an input is gone, damaged, or not the one that was read.
    """
    seen: set[tuple[str, str]] = set()
    queue = [artifact]
    while queue:
        node = queue.pop()
        if (node.asset, node.version) in seen:
            continue
        seen.add((node.asset, node.version))
        yield node
        for asset, entry in node.manifest["inputs"].items():
            upstream = store.find(asset, version=entry["version"])
            # The same bytes, published again after damage, are the same input.
            upstream = upstream or store.find(asset, digest=entry["digest"])
            if upstream is None or upstream.digest != entry["digest"]:
                raise StorageError(
                    f"{node.location} was made from {asset} {entry['version']}, which "
                    f"is gone or damaged; materialize {asset} and what follows again"
                )
            queue.append(upstream)


def _describe_folder(
    asset: str, folder: Path, origin: Origin, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Builds the manifest of the files in a folder."""
    files = {path.name: _describe_file(path) for path in sorted(folder.iterdir())}
    digest = _digest_of(files)
    now = datetime.now(UTC)
    return {
        "asset": asset,
        "version": f"{now:%Y%m%dT%H%M%S}.{now.microsecond:06d}Z-{digest[:12]}",
        "created": now.isoformat(timespec="seconds"),
        "digest": digest,
        "key": origin.key(),
        "code_version": origin.code_version,
        "files": files,
        "inputs": {
            artifact.asset: {"version": artifact.version, "digest": artifact.digest}
            for artifact in origin.inputs
        },
        "settings": origin.settings,
        **facts,
    }


def _digest_of(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(files)).hexdigest()


def _describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}
