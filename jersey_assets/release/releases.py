"""Finds the current release, and rolls back to an earlier one.

`withdrawn.json` beside the releases names the weights that an operator rolled back
from. Without it the next run of the graph, which finds nothing changed, would publish
them again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.store import Store

RELEASE = "released_model"
_WITHDRAWN = "withdrawn.json"

log = logging.getLogger(__name__)

Withdrawals = Mapping[str, Mapping[str, str]]


def withdrawals(store: Store) -> Withdrawals:
    """Reads which weights were withdrawn.

    Returns:
        digest of a `trained_checkpoint` → the `version` that it was released as, when
        it was `withdrawn` (ISO 8601), and the release that is used instead (`back_to`).

    Raises:
        StorageError: `withdrawn.json` is damaged.
    """
    found: Withdrawals = store.read_note(RELEASE, _WITHDRAWN) or {}
    return found


def weights_of(release: Artifact) -> str:
    """Digest of the checkpoint that a release was made from."""
    return str(release.manifest["inputs"]["trained_checkpoint"]["digest"])


def roll_back(store: Store, version: str) -> None:
    """Points readers to a release, and withdraws the current one and all later ones.

    No run publishes their weights again until somebody rolls back to one of them, which
    ends its withdrawal.

    Raises:
        StorageError: the version is missing or damaged.
    """
    with one_release_at_a_time(store, f"rollback to {version}"):
        _roll_back(store, version)


def _roll_back(store: Store, version: str) -> None:
    target = store.require_version(RELEASE, version)
    current = store.intact(RELEASE)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    noted = dict(withdrawals(store))
    for later in store.versions(RELEASE):
        is_current = current is not None and later == current.version
        if later > version or is_current:
            release = store.find(RELEASE, version=later)
            if release is not None:
                entry = {"version": later, "withdrawn": now, "back_to": version}
                noted.setdefault(weights_of(release), entry)
    noted.pop(weights_of(target), None)
    # After a kill in between, the current release stays until the next rollback.
    store.write_note(RELEASE, _WITHDRAWN, noted)
    store.point(RELEASE, version)


@contextmanager
def one_release_at_a_time(store: Store, run_id: str) -> Iterator[None]:
    """Waits until nobody else judges, publishes or rolls back, and keeps others out.

    Two candidates must not both be compared with the release that one of them is about
    to replace, and no release may be published over a rollback that it has not seen.
    """
    with one_at_a_time(store.scratch() / "release.lock", run_id):
        yield


def standing_release(store: Store) -> Artifact | None:
    """Reads the current release, or returns None if none is intact.

    If the current one is damaged, readers are pointed to the newest one that is intact
    and not withdrawn, so that a candidate always has to beat something.
    """
    current = store.intact(RELEASE)
    if current is not None:
        return current
    noted = withdrawals(store)
    for version in reversed(store.versions(RELEASE)):
        release = store.find(RELEASE, version=version)
        if release is not None and weights_of(release) not in noted:
            log.warning("the current release is damaged; going back to %s", version)
            store.point(RELEASE, version)
            return release
    return None
