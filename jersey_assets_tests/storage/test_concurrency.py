"""Readers and writers at the same time, and what killed ones left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jersey_assets.storage.errors import StorageError
from jersey_assets.storage.manifest import Origin
from jersey_assets.storage.roots import LocalRoot
from jersey_assets.storage.store import Store
from jersey_assets_tests.storage.stores import write_text


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


def test_kill_while_writing_leaves_the_old_version(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.publish("thing", Origin("1"), write_text("old"))
    script = (
        "import os, signal, sys\n"
        "from jersey_assets.storage.manifest import Origin\n"
        "from jersey_assets.storage.store import Store\n"
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
    replace_file = LocalRoot.replace

    def other_run_comes_first(self: LocalRoot, path: str, content: bytes) -> None:
        if path == "thing/current.json" and oldest.version.encode() in content:
            pruning[0].start()
            time.sleep(0.5)  # it gets as far as the lock lets it
        replace_file(self, path, content)

    monkeypatch.setattr(LocalRoot, "replace", other_run_comes_first)
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
        current = Store.pointed
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
            patched.setattr(Store, "pointed", overtaken)
            assert read("thing") is not None
        assert passed[0] not in quick.versions("thing")
    # With nothing newer to read, what is missing is told.
    version = quick.require("thing").version
    quick.opened.remove_folder(f"thing/{version}", "manifest.json")
    with pytest.raises(StorageError, match="incomplete"):
        quick.require("thing")
