"""The store: old or new, never half; damage is seen; killed runs leave nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from jersey_assets.storage.store import (
    Origin,
    StorageError,
    Store,
    UnreadableError,
    walk_provenance,
)
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


def test_old_versions_go_and_the_current_one_stays(store: Store) -> None:
    for number in range(6):
        store.publish("thing", Origin(str(number)), write_text(str(number)))
    assert len(store.versions("thing")) == 3
    assert store.require("thing").file("a.txt").read_text() == "5"


def test_the_version_to_go_back_to_stays_however_old_it_is(store: Store) -> None:
    first = store.publish("thing", Origin("0"), write_text("0"))
    for number in range(1, 4):
        store.publish("thing", Origin(str(number)), write_text(str(number)))
        store.point("thing", first.version)
    last = store.publish("thing", Origin("last"), write_text("last"))
    assert store.require("thing").version == last.version
    store.point("thing", first.version)
    assert store.require("thing").file("a.txt").read_text() == "0"


def test_going_back_to_an_earlier_origin_points_back_and_makes_nothing(
    store: Store,
) -> None:
    first = store.publish("thing", Origin("a"), write_text("a"))
    for number in range(2):
        store.publish("thing", Origin(f"bad {number}"), write_text(str(number)))
        again = store.publish("thing", Origin("a"), write_text("not made"))
        assert again.version == first.version
        assert store.require("thing").file("a.txt").read_text() == "a"


def test_what_a_stored_artifact_was_made_from_is_kept(store: Store) -> None:
    above = store.publish("above", Origin("0"), write_text("0"))
    below = store.publish("below", Origin("1", (above,)), write_text("x"))
    for number in range(1, 9):
        store.publish("above", Origin(str(number)), write_text(str(number)))
    walked = [artifact.version for artifact in walk_provenance(store, below)]
    assert walked == [below.version, above.version]
    assert len(store.versions("above")) == 4


def test_the_current_version_is_kept_when_the_clock_was_set_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        store.publish("thing", Origin(str(number)), write_text(str(number)))

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(days=1)

    monkeypatch.setattr("jersey_assets.storage.store.datetime", Yesterday)
    published = store.publish("thing", Origin("late"), write_text("late"))
    assert store.require("thing").version == published.version


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


def test_going_back_is_pointing_back(store: Store) -> None:
    first = store.publish("thing", Origin("1"), write_text("one"))
    store.publish("thing", Origin("2"), write_text("two"))
    store.point("thing", first.version)
    assert store.require("thing").file("a.txt").read_text() == "one"
    for unknown in ("no-such-version", "../thing", "", "current.json"):
        with pytest.raises(StorageError, match="has no version"):
            store.point("thing", unknown)
    assert store.require("thing").version == first.version


def test_runs_at_the_same_time_each_keep_to_what_they_published(store: Store) -> None:
    first, second = (replace(store, published={}) for _ in range(2))
    made = first.publish("thing", Origin("1"), write_text("one"))
    assert second.require("thing").digest == made.digest
    other = second.publish("thing", Origin("2"), write_text("two"))
    assert first.require("thing").digest == made.digest
    assert second.require("thing").digest == other.digest
    assert store.require("thing").digest == other.digest
    first.publish("thing", Origin("1"), write_text("one"))
    assert store.require("thing").digest == made.digest
    assert second.require("thing").digest == other.digest


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


def test_kill_while_writing_leaves_the_old_version(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.publish("thing", Origin("1"), write_text("old"))
    script = (
        "import os, signal, sys\n"
        "from jersey_assets.storage.store import Origin, Store\n"
        "def make(folder):\n"
        "    (folder / 'a.txt').write_text('new')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store(sys.argv[1]).publish('thing', Origin('2'), make)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert store.require("thing").file("a.txt").read_text() == "old"
    assert len(store.versions("thing")) == 1


def test_a_reader_never_sees_a_half_written_pointer(tmp_path: Path) -> None:
    store = Store(str(tmp_path), keep=100)
    versions = [
        store.publish("thing", Origin(str(n)), write_text(str(n))).version
        for n in range(2)
    ]
    script = (
        "import sys\n"
        "from jersey_assets.storage.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    for version in sys.argv[2:]:\n"
        "        store.point('thing', version)\n"
    )
    flipping = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), *versions]
    )
    pointer = tmp_path / "thing" / "current.json"
    seen = set()
    while flipping.poll() is None:
        seen.add(json.loads(pointer.read_bytes())["version"])
    assert flipping.returncode == 0
    assert seen == set(versions)


def test_what_killed_processes_left_goes_and_what_one_still_writes_stays(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path), keep=1)
    store.publish("thing", Origin("1"), write_text("x"))
    left = [
        tmp_path / "thing" / ".staging-left",
        tmp_path / "thing" / ".removed-left",
        tmp_path / "thing" / ".current.json-left.partial",
    ]
    for folder in left[:2]:
        folder.mkdir()
        (folder / "half").write_text("half")
    left[2].write_text("half")
    in_use: list[Path] = []

    def make(folder: Path) -> None:
        store.publish("thing", Origin("2"), write_text("y"))
        in_use.extend(f for f in [folder] if f.exists())
        write_text("z")(folder)

    store.publish("thing", Origin("3"), make)
    assert len(in_use) == 1
    assert sorted(path.name for path in (tmp_path / "thing").iterdir()) == sorted(
        [*store.versions("thing"), "current.json"]
    )


def test_a_version_that_another_run_is_about_to_point_to_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path), keep=1)
    oldest = store.publish("thing", Origin("0"), write_text("0"))
    for number in range(1, 4):
        replace(store, keep=9).publish(
            "thing", Origin(str(number)), write_text(str(number))
        )
    pruning = [
        threading.Thread(
            target=store.publish, args=("thing", Origin("new"), write_text("new"))
        )
    ]
    flip = Store._flip

    def other_run_comes_first(self: Store, asset: str, version: str) -> None:
        if pruning and version == oldest.version:
            pruning[0].start()
            time.sleep(0.5)  # it gets as far as the lock lets it
        flip(self, asset, version)

    monkeypatch.setattr(Store, "_flip", other_run_comes_first)
    store.publish("thing", Origin("0"), write_text("not made"))
    pruning[0].join()
    assert store.require("thing").file("a.txt").read_text() == "new"
    # The one before stays to go back to.
    assert oldest.version in store.versions("thing")


def test_a_reader_whose_version_goes_while_it_reads_takes_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(store, keep=1)
    quick.publish("thing", Origin("0"), write_text("0"))
    for read in (quick.require, quick.manifest):
        current = Store._current_version
        passed: list[str | None] = []

        def overtaken(
            self: Store,
            asset: str,
            current: Any = current,
            passed: list[str | None] = passed,
        ) -> str | None:
            version: str | None = current(self, asset)
            if not passed:
                passed.append(version)
                for _ in range(3):
                    origin = Origin(uuid.uuid4().hex)
                    quick.publish("thing", origin, write_text(origin.code_version))
            return version

        with monkeypatch.context() as patched:
            patched.setattr(Store, "_current_version", overtaken)
            assert read("thing") is not None
        assert passed[0] not in quick.versions("thing")
    # With nothing newer to read, what is missing is told.
    version = quick.require("thing").version
    quick._remove("thing", version)
    with pytest.raises(StorageError, match="incomplete"):
        quick.require("thing")


def test_a_manifest_that_cannot_be_read_now_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path), keep=1)
    for number in range(3):
        replace(store, keep=9).publish(
            "thing", Origin(str(number)), write_text(str(number))
        )
    kept = store.versions("thing")
    read = LocalFileSystem.cat_file

    def failing(self: LocalFileSystem, path: str, *rest: Any) -> bytes:
        if f"{kept[1]}/manifest" in path:
            raise OSError(errno.EIO, "Input/output error")
        content: bytes = read(self, path, *rest)
        return content

    monkeypatch.setattr(Store, "find", lambda *_, **__: None)
    monkeypatch.setattr(LocalFileSystem, "cat_file", failing)
    made = store.publish("thing", Origin("new"), write_text("new"))
    assert store.versions("thing") == [*kept, made.version]
    assert "keeps what it no longer needs" in caplog.text


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
        patched.setattr(LocalFileSystem, "cat_file", fail)
        for read in (store.intact, store.find):
            with pytest.raises(UnreadableError, match="Input/output error"):
                read("thing")
    assert store.intact("thing") == made


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
