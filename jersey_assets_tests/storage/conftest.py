"""A store at each kind of root."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from jersey_assets.storage.store import Store


@pytest.fixture(params=["local", "memory", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """An empty store that keeps three versions."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "local":
        yield Store(str(tmp_path / "artifacts"), keep=3)
        return
    if request.param == "s3":
        yield Store(f"{request.getfixturevalue('bucket')}/artifacts", keep=3)
        return
    root = f"memory://{uuid.uuid4().hex}"
    yield Store(root, keep=3)
    memory = fsspec.filesystem("memory")
    if memory.exists(root):
        memory.rm(root, recursive=True)
