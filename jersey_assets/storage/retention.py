"""Prunes old versions: keeps the newest ones and the inputs of stored artifacts.

The provenance of every stored artifact can be walked. Publishing an artifact marks its
inputs first: an empty file in `.made-from/<input>` is named after the input's version
and the artifact. So an asset's own versions and marks show what may be removed, without
reading all other assets.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jersey_assets.storage.errors import StorageError, unless_damaged
from jersey_assets.storage.manifest import (
    MANIFEST,
    read_manifest,
    stored_versions,
)
from jersey_assets.storage.roots import Root

CHECKS = ".checks.json"
"""Suffix of the file with a version's check answers, which is beside its folder."""

_MARKS = ".made-from"

log = logging.getLogger(__name__)


def mark_inputs(root: Root, manifest: Mapping[str, Any]) -> None:
    """Keeps an artifact's inputs from being pruned as long as it is stored."""
    for mark in _marks_of(manifest):
        root.touch(mark)


def prune(root: Root, asset: str, keep: int, spared: Collection[str | None]) -> None:
    """Removes an asset's versions past the kept ones, and leftovers of killed runs.

    Args:
        root: holds the artifacts; the caller holds the asset's lock.
        asset: the asset's name.
        keep: how many of the newest versions stay.
        spared: versions that are kept however old they are.
    """
    try:
        stored = stored_versions(root, asset)
        marks = root.files(f"{_MARKS}/{asset}")
        candidates = (version for version in stored[:-keep] if version not in spared)
        for version in [v for v in candidates if not _is_input(root, v, marks)]:
            _remove(root, asset, version)
            stored.remove(version)
        _remove_left(root, asset, stored, marks)
    except (OSError, StorageError) as error:
        # Readers have the new version: leftovers are removed the next time.
        log.warning("cannot remove old versions of %s: %s", asset, error)


def _marks_of(manifest: Mapping[str, Any]) -> Iterator[str]:
    for asset, entry in manifest["inputs"].items():
        made = f"{manifest['asset']}~{manifest['version']}"
        yield f"{_MARKS}/{asset}/{entry['version']}~{made}"


def _is_input(root: Root, version: str, marks: list[str]) -> bool:
    """Whether an artifact that was made from the version is still stored.

    Raises:
        UnreadableError: the store cannot be read now.
    """
    for mark in marks:
        marked, _, made = mark.partition("~")
        if marked == version:
            user, _, used_by = made.partition("~")
            with unless_damaged():
                read_manifest(root, user, used_by)
                return True
    return False


def _remove(root: Root, asset: str, version: str) -> None:
    """Removes a version, so that no reader sees a part of it, and its marks."""
    marks: list[str] = []
    with unless_damaged():
        marks.extend(_marks_of(read_manifest(root, asset, version)))
    root.remove_folder(f"{asset}/{version}", MANIFEST)
    for mark in marks:
        root.remove(mark)


def _remove_left(
    root: Root, asset: str, stored: Collection[str], marks: list[str]
) -> None:
    """Removes answers and marks of versions that are gone, and partial folders."""
    for name in root.files(asset):
        if name.endswith(CHECKS) and name.removesuffix(CHECKS) not in stored:
            root.remove(f"{asset}/{name}")
    for mark in marks:
        if mark.partition("~")[0] not in stored:
            root.remove(f"{_MARKS}/{asset}/{mark}")
    root.sweep(asset)
