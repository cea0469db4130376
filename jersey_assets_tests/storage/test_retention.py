"""What stays and what goes: told by an asset's own versions and marks."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jersey_assets.storage.manifest import Artifact, Origin
from jersey_assets.storage.provenance import walk_provenance
from jersey_assets.storage.roots import LocalRoot
from jersey_assets.storage.store import Store
from jersey_assets_tests.storage.stores import names_in, write_text


def publish(store: Store, asset: str, number: object, *inputs: Artifact) -> Artifact:
    return store.publish(asset, Origin(str(number), inputs), write_text(str(number)))


def test_old_versions_go_and_the_current_one_stays(store: Store) -> None:
    for number in range(6):
        publish(store, "thing", number)
    assert len(store.versions("thing")) == 3
    assert store.require("thing").file("a.txt").read_text() == "5"


def test_the_version_to_go_back_to_stays_however_old_it_is(store: Store) -> None:
    first = publish(store, "thing", 0)
    for number in range(1, 4):
        publish(store, "thing", number)
        store.point("thing", first.version)
    last = publish(store, "thing", "last")
    assert store.require("thing").version == last.version
    store.point("thing", first.version)
    assert store.require("thing").file("a.txt").read_text() == "0"


def test_what_a_stored_artifact_was_made_from_stays_as_long_as_it(
    store: Store,
) -> None:
    above = publish(store, "above", 0)
    below = publish(store, "below", 0, above)
    for number in range(1, 9):
        publish(store, "above", number)
    walked = [artifact.version for artifact in walk_provenance(store, below)]
    assert walked == [below.version, above.version]
    assert len(store.versions("above")) == 4
    for number in range(1, 5):
        publish(store, "below", number)
    assert below.version not in store.versions("below")
    publish(store, "above", "last")
    assert above.version not in store.versions("above")
    assert len(store.versions("above")) == 3


def test_marks_go_with_what_was_made_and_with_what_it_was_made_from(
    store: Store,
) -> None:
    above = publish(store, "above", 0)
    for number in range(9):
        publish(store, "below", number, above)
    assert names_in(store, ".made-from/above") == {
        f"{above.version}~below~{version}" for version in store.versions("below")
    }
    for number in range(9):
        publish(store, "below", f"alone {number}")
        publish(store, "above", f"other {number}")
    assert above.version not in store.versions("above")
    assert names_in(store, ".made-from/above") == set()


def test_a_publish_lists_its_own_asset_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path), keep=1)
    above = [publish(store, f"above{number}", 0) for number in range(3)]
    publish(store, "thing", 0, *above)
    listed = set()
    for name in ("folders", "files"):
        list_names = getattr(LocalRoot, name)

        def listing(
            self: LocalRoot,
            path: str,
            list_names: Callable[[LocalRoot, str], list[str]] = list_names,
        ) -> list[str]:
            listed.add(path)
            return list_names(self, path)

        monkeypatch.setattr(LocalRoot, name, listing)
    for number in range(1, 4):
        publish(store, "thing", number, *above)
    assert listed == {"thing", ".made-from/thing"}
    assert len(store.versions("thing")) == 2


def test_where_it_cannot_be_told_what_was_made_from_it_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path), keep=1)
    above = publish(store, "above", 0)
    below = publish(store, "below", 0, above)
    for number in range(1, 4):
        publish(replace(store, keep=9), "above", number)
    kept = store.versions("above")
    read = LocalRoot.read

    def failing(self: LocalRoot, path: str) -> bytes:
        if path == f"below/{below.version}/manifest.json":
            raise OSError(errno.EIO, "Input/output error")
        return read(self, path)

    with monkeypatch.context() as patched:
        patched.setattr(LocalRoot, "read", failing)
        made = publish(store, "above", "new")
    assert store.versions("above") == [*kept, made.version]
    assert "cannot remove old versions" in caplog.text
    publish(store, "above", "newer")
    assert len(store.versions("above")) == 3  # with the input and the one before


@pytest.mark.parametrize("moment", ["rename", "replace", "unlink"])
def test_killed_at_any_step_of_a_publish_the_next_ones_heal_it(
    tmp_path: Path, moment: str
) -> None:
    """Marks without an artifact keep nothing; an artifact keeps its inputs."""
    store = Store(str(tmp_path), keep=1)
    above = publish(store, "above", 0)
    for number in range(2):
        publish(store, "below", number, above)
    script = (
        "import os, sys\n"
        "from jersey_assets.storage.manifest import Origin\n"
        "from jersey_assets.storage.store import Store\n"
        "store = Store(sys.argv[1], keep=1)\n"
        "above = store.require('above')\n"
        "def make(folder):\n"
        "    (folder / 'a.txt').write_text('killed')\n"
        "    setattr(os, sys.argv[2], lambda *_, **__: os.kill(os.getpid(), 9))\n"
        "store.publish('below', Origin('killed', (above,)), make)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), moment], check=False
    )
    assert ended.returncode == -9
    for version in store.versions("below"):
        assert list(walk_provenance(store, store.read("below", version)))
    publish(store, "above", 1)
    publish(store, "above", 2)
    assert above.version in store.versions("above")
    for number in range(3):
        publish(store, "below", f"alone {number}")
    for number in range(3, 6):
        publish(store, "above", number)
    assert above.version not in store.versions("above")
    assert names_in(store, ".made-from/above") == set()
