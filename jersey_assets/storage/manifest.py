"""Artifacts and their manifests: files by digest, inputs, code version, settings.

`manifest.json` in a version folder names each file's sha256 and size, the version and
digest of each input, and the digest over all files, by which the artifact is known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jersey_assets.storage.errors import StorageError, reading
from jersey_assets.storage.roots import Root

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """One stored version of an asset, with its verified files.

    Attributes:
        asset: the asset's name.
        version: name of the version folder.
        folder: local folder that holds the files.
        location: where the version folder is in the store.
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
        settings: everything else that determines the content; JSON values only.
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


def canonical_json(value: Any) -> bytes:
    """Writes JSON in the canonical form that digests are computed over."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
    return text.encode("utf-8")


def describe_folder(
    asset: str, folder: Path, origin: Origin, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Builds the manifest of the files in a folder.

    Args:
        asset: the asset's name.
        folder: holds the artifact's files and nothing else.
        origin: what they were made from.
        facts: goes into the manifest as well (run id and the like).
    """
    files = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
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


def describe_file(path: Path) -> dict[str, Any]:
    """A file's entry in a manifest: `sha256`, hex, and `size`, bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}


def stored_versions(root: Root, asset: str) -> list[str]:
    """Names of an asset's stored versions, oldest first.

    Raises:
        UnreadableError: they cannot be listed now.
    """
    with reading(asset, f"{root.location}/{asset}"):
        names = root.folders(asset)
    return sorted(name for name in names if not name.startswith("."))


def read_manifest(root: Root, asset: str, version: str) -> Mapping[str, Any]:
    """Reads a version's manifest, and checks that its digest is that of its files.

    Raises:
        StorageError: it is missing or damaged.
    """
    location = f"{root.location}/{asset}/{version}"
    with reading(asset, location):
        content = root.read(f"{asset}/{version}/{MANIFEST}")
    try:
        return _parse(content)
    except ValueError as error:
        raise StorageError(
            f"{location}/{MANIFEST} is damaged: {error}; materialize {asset} again"
        ) from error


def _parse(content: bytes) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(content)
    try:
        whole = manifest["digest"] == _digest_of(manifest["files"])
        if not whole or any("/" in name for name in manifest["files"]):
            raise ValueError("its digest does not match the files it lists")
        if not {"key", "inputs"} <= manifest.keys():
            raise ValueError("it does not say what the files were made from")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not a manifest: {error}") from error
    return manifest


def _digest_of(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(files)).hexdigest()
