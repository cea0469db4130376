"""A root on this machine and one at a URL behave alike; only they know which it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jersey_assets.storage.roots import LocalRoot, UrlRoot, local_path, open_root
from jersey_assets.storage.store import Store
from jersey_assets_tests.storage.stores import names_in


@pytest.mark.parametrize("root", ["{}", "file://{}", "local://{}", "{}/"])
def test_every_spelling_of_a_folder_is_a_root_on_this_machine(
    root: str, tmp_path: Path
) -> None:
    opened = open_root(root.format(tmp_path))
    assert isinstance(opened, LocalRoot)
    assert opened.location == str(tmp_path)
    opened.replace("a/b", b"x")
    assert (tmp_path / "a" / "b").read_bytes() == b"x"


def test_a_relative_root_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = open_root("artifacts")
    monkeypatch.chdir("/")
    opened.replace("a", b"x")
    assert (tmp_path / "artifacts" / "a").exists()


@pytest.mark.parametrize("url", ["memory://x", "s3://bucket/x", "simplecache::s3://b"])
def test_other_urls_are_no_folder_here(url: str) -> None:
    assert local_path(url) is None


def test_what_is_written_is_read_listed_and_removed(store: Store) -> None:
    root = store.opened
    assert isinstance(root, LocalRoot) == ("://" not in store.root)
    assert isinstance(root, UrlRoot) == ("://" in store.root)
    assert root.files("a") == root.folders("a") == []
    root.replace("a/file", b"old")
    root.replace("a/file", b"new")
    root.replace("a/folder/inner", b"x")
    root.touch("a/mark")
    assert root.read("a/file") == b"new"
    assert root.read("a/mark") == b""
    assert sorted(root.files("a")) == ["file", "mark"]
    assert root.folders("a") == ["folder"]
    root.remove_folder("a/folder", "inner")
    root.remove("a/mark")
    root.remove("a/mark")  # gone already
    root.sweep("a")
    assert names_in(store, "a") == {"file"}
    with pytest.raises(FileNotFoundError):
        root.read("a/mark")


def test_a_root_on_disk_loads_no_driver_of_urls(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from jersey_assets.storage.manifest import Origin\n"
        "from jersey_assets.storage.store import Store\n"
        "make = lambda folder: (folder / 'a').write_text('x')\n"
        "Store(sys.argv[1]).publish('thing', Origin('1'), make)\n"
        "print('fsspec' in sys.modules)\n"
    )
    said = subprocess.check_output([sys.executable, "-c", script, str(tmp_path)])
    assert said == b"False\n"
