"""What tests of stores share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec

from jersey_assets.storage.store import Store


def write_text(text: str, name: str = "a.txt") -> Callable[[Path], object]:
    """What makes an artifact of one text file."""
    return lambda folder: (folder / name).write_text(text)


def names_in(store: Store, asset: str) -> set[str]:
    """Everything that lies in an asset's folder, hidden or not."""
    fs, root = fsspec.url_to_fs(store.root)
    found = fs.ls(f"{root}/{asset}", detail=False, refresh=True)
    return {str(path).rstrip("/").rsplit("/", 1)[-1] for path in found}
