"""Walks the provenance of an artifact: its inputs, their inputs, and so on."""

from __future__ import annotations

from collections.abc import Iterator

from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import Artifact
from jersey_assets.storage.store import Store


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
