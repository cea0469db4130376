"""Which files are read: folders that are too deep, links to what is read already."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.annotations.disk.listing import (
    MAX_DEPTH,
    list_annotation_files,
)
from jersey_assets.annotations.disk.watch import Watch
from jersey_assets_tests.annotations.datasets import (
    TRAIN_ROWS,
    Dataset,
    assert_nothing_is_lost,
    found,
    row,
)

TRAIN = "train/annotations.jsonl"
VALID = "valid/annotations.jsonl"
TEST = "test/annotations.jsonl"


def make_chain(folder: Path, depth: int, name: str = "d") -> None:
    """Nest folders, the innermost with a JSONL file, past what a path can name."""
    descriptor = os.open(folder, os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    file = os.open("x.jsonl", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=descriptor)
    os.write(file, b'{"image": "x.png", "suffix": "7"}\n')
    os.close(file)
    os.close(descriptor)


@pytest.fixture
def deep(good: Dataset) -> Iterator[Dataset]:
    """A dataset to nest folders in, which pytest could not remove by itself."""
    yield good
    subprocess.run(["rm", "-rf", str(good.root)], check=True)


def told(data: Dataset) -> list[tuple[str, str, str, str]]:
    """Split, path, reason and message of what is listed and not read.

    All that take the fingerprint have to agree about it.
    """
    validation = data.validate()
    seen = Watch(data.root).look()
    assert seen.fingerprint == fingerprint(data.root)
    assert seen.fingerprint.digest == validation.summary["fingerprint"]
    assert seen.fingerprint.files == validation.summary["files"]
    assert seen.rows == validation.summary["rows"]
    assert_nothing_is_lost(validation)
    listed = [file for file in list_annotation_files(data.root) if file.reason]
    assert {(f.path, 0, f.reason) for f in listed} <= found(validation)
    return [(f.split, f.path, f.reason or "", f.message) for f in listed]


def read(data: Dataset) -> list[tuple[str, str]]:
    """Split and path of what is read."""
    listed = list_annotation_files(data.root)
    return [(file.split, file.path) for file in listed if not file.reason]


OWN = [("train", TRAIN), ("valid", VALID), ("test", TEST)]


def test_files_are_read_down_to_the_deepest_folder_and_the_next_is_named(
    deep: Dataset,
) -> None:
    make_chain(deep.root / "train", MAX_DEPTH)
    path = "train" + "/d" * MAX_DEPTH
    assert ("train", f"{path}/x.jsonl") in read(deep)
    assert told(deep) == []
    make_chain(deep.root / path, 1)
    [(split, folder, reason, message)] = told(deep)
    assert (split, folder, reason) == ("train", f"{path}/d", "file.unreadable")
    assert "more than 64 deep" in message
    assert "move them up, or out of the dataset" in message
    validation = deep.validate()
    assert validation.summary["outcome"] == "reject"
    assert found(validation) >= {(f"{path}/d", 0, "file.unreadable")}


def test_a_chain_of_1200_folders_costs_a_bounded_number_of_calls(
    deep: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_chain(deep.root / "train", 1200)
    make_chain(deep.root / "valid", 1200, "long" * 50)
    calls: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        really = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return really(*arguments, **options)

        return call

    for name in ("open", "scandir", "lstat", "stat"):
        monkeypatch.setattr(os, name, counted(name))
    assert len(list_annotation_files(deep.root)) == 5
    monkeypatch.undo()
    folders = 2 * (MAX_DEPTH + 1) + 1 + 3  # both chains, test and the crops
    assert calls["scandir"] <= folders
    assert calls["open"] <= folders * (MAX_DEPTH + 2)
    assert calls["lstat"] + calls["stat"] <= 200
    (train, valid) = told(deep)
    assert train[1] == "train" + "/d" * (MAX_DEPTH + 1)
    assert valid[1] == "valid" + f"/{'long' * 50}" * (MAX_DEPTH + 1)
    assert deep.validate().summary["outcome"] == "reject"


def test_a_link_to_a_folder_that_is_too_deep_does_not_open_it(deep: Dataset) -> None:
    make_chain(deep.root / "train", MAX_DEPTH + 3)
    (deep.root / "valid/x").symlink_to("../train" + "/d" * (MAX_DEPTH + 2))
    assert read(deep) == OWN
    assert {at[1:3] for at in told(deep)} == {
        ("train" + "/d" * (MAX_DEPTH + 1), "file.unreadable"),
        ("valid/x", "file.unreadable"),
    }


def test_a_long_way_through_links_ends_too(good: Dataset) -> None:
    for number in range(MAX_DEPTH + 5):
        (good.root / f"pool/{number}").mkdir(parents=True)
        (good.root / f"pool/{number}/on").symlink_to(f"../{number + 1}")
    (good.root / "train/on").symlink_to("../pool/0")
    path = "train" + "/on" * (MAX_DEPTH + 1)
    assert [at[1:3] for at in told(good)] == [(path, "file.unreadable")]


@pytest.fixture(params=[False, True], ids=["forth", "back"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists folders in the order of names, and against it."""
    really_scan = os.scandir

    @contextmanager
    def scan(folder: int) -> Iterator[Iterator[os.DirEntry[str]]]:
        with really_scan(folder) as entries:
            names = sorted(entries, key=lambda entry: entry.name)
            yield iter(names[::-1] if request.param else names)

    monkeypatch.setattr(os, "scandir", scan)


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize("name", ["a", "z", "crops/a", "crops/z"])
@pytest.mark.parametrize(
    ("split", "target", "shown"),
    [
        ("train", "", "the dataset's root"),
        ("train", "train", "train"),
        ("valid", "train", "train"),
        ("train", "valid", "valid"),
        ("train", TEST, TEST),
        ("test", TRAIN, TRAIN),
        ("train", TRAIN, TRAIN),
    ],
)
def test_a_link_to_what_is_read_already_is_told_once(
    good: Dataset, name: str, split: str, target: str, shown: str
) -> None:
    path = f"{split}/{name}" + (".jsonl" if target.endswith(".jsonl") else "")
    up = "../" * path.count("/")
    (good.root / path).symlink_to(f"{up}{target}")
    before = good.validate().summary["splits"]
    assert read(good) == OWN
    message = (
        f"this is a link to {shown}, which is already read; nothing is read "
        "through the link, so delete it"
    )
    assert told(good) == [(split, path, "file.linked", message)]
    validation = good.validate()
    assert validation.summary["outcome"] == "accept_with_warning"
    assert validation.summary["splits"] == before
    assert before["train"] == {"rows": TRAIN_ROWS, "kept": TRAIN_ROWS}
    assert found(validation) == {(path, 0, "file.linked")}


@pytest.mark.usefixtures("order")
@pytest.mark.parametrize(
    ("name", "target", "gone"),
    [("val", "valid", None), ("valid", "train", "valid"), ("test", "train", "test")],
)
def test_a_split_that_links_to_another_is_not_read_as_it(
    good: Dataset, name: str, target: str, gone: str | None
) -> None:
    if gone:
        (good.root / gone).rename(good.root.parent / "gone")
    (good.root / name).symlink_to(target)
    assert read(good) == [own for own in OWN if own[0] != gone]
    assert [at[1:3] for at in told(good)] == [(name, "file.linked")]


@pytest.mark.usefixtures("order")
def test_a_split_may_lie_elsewhere_in_the_dataset(good: Dataset) -> None:
    (good.root / "train").rename(good.root / "pool")
    (good.root / "train").symlink_to("pool")
    (good.root / "valid/a").symlink_to("../pool")
    (good.root / "valid/z.jsonl").symlink_to("../train/annotations.jsonl")
    assert read(good) == OWN
    assert [at[1:] for at in told(good)] == [
        (
            path,
            "file.linked",
            f"this is a link to {target}, which is already read as {name}; "
            "nothing is read through the link, so delete it",
        )
        for path, target, name in (
            ("valid/a", "pool", "train"),
            ("valid/z.jsonl", "pool/annotations.jsonl", TRAIN),
        )
    ]


@pytest.mark.usefixtures("order")
def test_what_lies_in_no_split_is_read_by_the_first_link(good: Dataset) -> None:
    good.image("pool/deep/x.png", 99)
    good.lines("pool/deep/more.jsonl", [row("x.png", "7")])
    (good.root / "train/z").symlink_to("../pool/deep")
    (good.root / "valid/a").symlink_to("../pool")
    assert read(good) == [OWN[0], ("train", "train/z/more.jsonl"), *OWN[1:]]
    [(split, path, reason, message)] = told(good)
    assert (split, path, reason) == ("valid", "valid/a/deep", "file.linked")
    assert "pool/deep, which is already read as train/z" in message


def test_a_file_of_another_name_is_read_in_the_split_where_it_lies(
    good: Dataset,
) -> None:
    good.image("valid/x.png", 99)
    good.lines("valid/more.txt", [row("../valid/x.png", "7")])
    (good.root / "train/more.jsonl").symlink_to("../valid/more.txt")
    assert ("valid", "train/more.jsonl") in read(good)
    assert told(good) == []
    assert good.validate().summary["splits"]["valid"]["kept"] == 5


def test_a_link_to_a_folder_of_images_is_worth_no_word(good: Dataset) -> None:
    (good.root / "valid/pictures").symlink_to("../train/crops")
    assert told(good) == []
    assert good.validate().summary["outcome"] == "accept"


def test_a_hard_link_is_a_file_of_its_own(good: Dataset) -> None:
    (good.root / "train/more.jsonl").hardlink_to(good.root / TRAIN)
    assert ("train", "train/more.jsonl") in read(good)
    assert told(good) == []
    assert good.validate().summary["duplicates"] == TRAIN_ROWS
