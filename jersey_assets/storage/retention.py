"""Which versions stay: the newest ones, and what a stored artifact was made from.

Provenance can be walked as long as there is something to walk from. Whoever publishes
an artifact marks its inputs first: an empty file in `.made-from/<input>` is named after
the input's version and the artifact. So an asset's own versions and marks tell what may
go, without a look at all other assets.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from jersey_assets.storage.errors import GONE, StorageError, unless_damaged
from jersey_assets.storage.manifest import MANIFEST
from jersey_assets.storage.roots import Root

if TYPE_CHECKING:
    from jersey_assets.storage.store import Store

CHECKS = ".checks.json"
"""Ends the name of the note about a version's checks, which lies beside its folder."""

_MARKS = ".made-from"

log = logging.getLogger(__name__)


def mark_inputs(root: Root, manifest: Mapping[str, Any]) -> None:
    """Keeps an artifact's inputs from being pruned for as long as it is stored."""
    for mark in _marks_of(manifest):
        root.touch(mark)


def prune(store: Store, asset: str, previous: str | None) -> None:
    """Removes an asset's versions past the kept ones, and what killed runs left.

    What readers are pointed to stays, however old it is, and so do the version before,
    to go back to, and what the run itself published.

    Args:
        store: the asset's lock is held.
        asset: the asset's name.
        previous: what readers were pointed to before.
    """
    keep = store.keep_releases if asset == "released_model" else store.keep
    try:
        stored = store.versions(asset)
        marks = store.opened.files(f"{_MARKS}/{asset}")
        spared = {store.pointed(asset), previous, *(store.published or {}).values()}
        candidates = (version for version in stored[:-keep] if version not in spared)
        for version in [v for v in candidates if not _is_input(store, v, marks)]:
            _remove(store, asset, version)
            stored.remove(version)
        _remove_left(store, asset, stored, marks)
    except (OSError, StorageError) as error:
        # Readers have the new version: what is left goes the next time.
        log.warning("%s keeps what it no longer needs: %s", asset, error)


def _marks_of(manifest: Mapping[str, Any]) -> Iterator[str]:
    for asset, entry in manifest["inputs"].items():
        made = f"{manifest['asset']}~{manifest['version']}"
        yield f"{_MARKS}/{asset}/{entry['version']}~{made}"


def _is_input(store: Store, version: str, marks: list[str]) -> bool:
    """Whether an artifact that was made from the version is still stored.

    Raises:
        UnreadableError: it cannot be told now.
    """
    for mark in marks:
        marked, _, made = mark.partition("~")
        if marked == version:
            user, _, used_by = made.partition("~")
            with unless_damaged():
                store.read_manifest(user, used_by)
                return True
    return False


def _remove(store: Store, asset: str, version: str) -> None:
    """Removes a version, of which no reader sees a part, and its marks on others."""
    marks: list[str] = []
    with unless_damaged():
        marks.extend(_marks_of(store.read_manifest(asset, version)))
    store.opened.remove_folder(f"{asset}/{version}", MANIFEST)
    for mark in marks:
        with suppress(*GONE):
            store.opened.remove(mark)


def _remove_left(
    store: Store, asset: str, stored: Collection[str], marks: list[str]
) -> None:
    """Removes notes about, and marks on, versions that are gone, and what is half."""
    for name in store.opened.files(asset):
        if name.endswith(CHECKS) and name.removesuffix(CHECKS) not in stored:
            store.opened.remove(f"{asset}/{name}")
    for mark in marks:
        if mark.partition("~")[0] not in stored:
            store.opened.remove(f"{_MARKS}/{asset}/{mark}")
    store.opened.sweep(asset)
