"""Damage is seen, named and mended; a disk that does not answer is none."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest

from jersey_assets.storage.errors import StorageError, UnreadableError
from jersey_assets.storage.manifest import Origin
from jersey_assets.storage.provenance import walk_provenance
from jersey_assets.storage.roots import LocalRoot
from jersey_assets.storage.store import Store
from jersey_assets_tests.storage.stores import write_text


def test_an_input_published_again_after_damage_is_the_same_input(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path))
    above = store.publish("above", Origin("1"), write_text("same"))
    below = store.publish("below", Origin("1", (above,)), write_text("x"))
    above.file("a.txt").write_text("damaged")
    mended = store.publish("above", Origin("1"), write_text("same"))
    walked = [artifact.version for artifact in walk_provenance(store, below)]
    assert walked == [below.version, mended.version]


def test_a_file_changed_together_with_its_entry_is_noticed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    artifact = store.publish("thing", Origin("1"), write_text("hello"))
    artifact.file("a.txt").write_text("other")
    manifest = json.loads((artifact.folder / "manifest.json").read_text())
    digest = hashlib.sha256(b"other").hexdigest()
    manifest["files"]["a.txt"]["sha256"] = digest
    (artifact.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="damaged"):
        store.require("thing")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_on_disk_is_refused_and_mended_by_the_next_run(
    tmp_path: Path, damage: str
) -> None:
    store = Store(str(tmp_path))
    path = store.publish("thing", Origin("1"), write_text("hello")).file("a.txt")
    if damage == "flip":
        path.write_text("hellp")
    elif damage == "cut":
        path.write_text("hell")
    else:
        path.unlink()
    with pytest.raises(StorageError, match="materialize thing again"):
        store.require("thing")
    mended = store.publish("thing", Origin("1"), write_text("hello"))
    assert mended.file("a.txt").read_text() == "hello"


def test_a_damaged_pointer_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.publish("thing", Origin("1"), write_text("x"))
    (tmp_path / "thing" / "current.json").write_text("{")
    with pytest.raises(StorageError, match=r"current\.json is damaged"):
        store.require("thing")


def test_a_read_only_root_is_a_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StorageError, match="cannot write thing under"):
        Store(str(blocked)).publish("thing", Origin("1"), write_text("x"))


def test_a_disk_that_does_not_answer_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    made = store.publish(
        "thing", Origin("code"), lambda folder: (folder / "a.txt").write_text("a")
    )

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(LocalRoot, "read", fail)
        for read in (store.intact, store.find):
            with pytest.raises(UnreadableError, match="Input/output error"):
                read("thing")
    assert store.intact("thing") == made
