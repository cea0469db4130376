"""The store: an artifact is published whole, read whole, and made once."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import Origin
from jersey_assets.storage.provenance import walk_provenance
from jersey_assets.storage.store import Store
from jersey_assets_tests.storage.stores import write_text


def test_a_published_artifact_is_read_back_whole(store: Store) -> None:
    published = store.publish("thing", Origin("1"), write_text("hello"))
    read = store.require("thing")
    assert read.file("a.txt").read_text() == "hello"
    assert read.digest == published.digest
    assert read.manifest["files"]["a.txt"]["size"] == 5


def test_an_asset_never_made_is_named_in_the_error(store: Store) -> None:
    assert store.current("thing") is None
    with pytest.raises(StorageError, match="materialize thing first"):
        store.require("thing")


def test_the_same_origin_is_not_made_twice(store: Store) -> None:
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "a.txt").write_text("x")

    first = store.publish("thing", Origin("1", settings={"k": 1}), make)
    again = store.publish("thing", Origin("1", settings={"k": 1}), make)
    assert again.version == first.version
    assert len(calls) == 1
    store.publish("thing", Origin("1", settings={"k": 2}), make)
    store.publish("thing", Origin("2", settings={"k": 2}), make)
    assert len(calls) == 3


def test_a_changed_input_makes_a_new_version(store: Store) -> None:
    above = store.publish("above", Origin("1"), write_text("1"))
    below = store.publish("below", Origin("1", (above,)), write_text("x"))
    above = store.publish("above", Origin("2"), write_text("2"))
    changed = store.publish("below", Origin("1", (above,)), write_text("x"))
    assert changed.version != below.version


def test_going_back_to_an_earlier_origin_points_back_and_makes_nothing(
    store: Store,
) -> None:
    first = store.publish("thing", Origin("a"), write_text("a"))
    for number in range(2):
        store.publish("thing", Origin(f"bad {number}"), write_text(str(number)))
        again = store.publish("thing", Origin("a"), write_text("not made"))
        assert again.version == first.version
        assert store.require("thing").file("a.txt").read_text() == "a"


def test_the_current_version_is_kept_when_the_clock_was_set_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        store.publish("thing", Origin(str(number)), write_text(str(number)))

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(days=1)

    monkeypatch.setattr("jersey_assets.storage.manifest.datetime", Yesterday)
    published = store.publish("thing", Origin("late"), write_text("late"))
    assert store.require("thing").version == published.version


def test_going_back_is_pointing_back(store: Store) -> None:
    first = store.publish("thing", Origin("1"), write_text("one"))
    store.publish("thing", Origin("2"), write_text("two"))
    store.point("thing", first.version)
    assert store.require("thing").file("a.txt").read_text() == "one"
    for unknown in ("no-such-version", "../thing", "", "current.json"):
        with pytest.raises(StorageError, match="has no version"):
            store.point("thing", unknown)
    assert store.require("thing").version == first.version


def test_a_failed_make_leaves_the_old_version(store: Store) -> None:
    store.publish("thing", Origin("1"), write_text("one"))

    def fail(folder: Path) -> None:
        (folder / "a.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        store.publish("thing", Origin("2"), fail)
    assert store.require("thing").file("a.txt").read_text() == "one"
    assert len(store.versions("thing")) == 1


def test_provenance_is_walked_to_the_first_artifact(store: Store) -> None:
    one = store.publish("one", Origin("1"), write_text("1"))
    two = store.publish("two", Origin("1", (one,)), write_text("2"))
    three = store.publish("three", Origin("1", (one, two)), write_text("3"))
    walked = [artifact.asset for artifact in walk_provenance(store, three)]
    assert sorted(walked) == ["one", "three", "two"]


def test_copies_that_nobody_reads_any_more_are_removed(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store(f"{bucket}/artifacts")
    folders = []
    for text in ("read lately", "read long ago"):
        store.publish(text, Origin(text), write_text(text))
        folders.append(store.require(text).folder)
    for folder in folders:
        os.utime(folder, (0, 0))
    store.require("read lately")
    store.publish("new", Origin("new"), write_text("new"))
    store.require("new")
    assert [folder.exists() for folder in folders] == [True, False]
    assert store.require("read long ago").file("a.txt").read_text() == "read long ago"
