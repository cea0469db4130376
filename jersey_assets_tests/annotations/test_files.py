"""Only regular files of the dataset are opened, and the fingerprint sees changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jersey_assets.annotations.disk.confined import read_file
from jersey_assets.annotations.disk.errors import AnnotationError, PathError
from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.annotations.disk.listing import (
    MAX_DEPTH,
    list_annotation_files,
    open_annotation_file,
)
from jersey_assets.annotations.disk.watch import Watch
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets_tests.annotations.conftest import (
    TRAIN_ROWS,
    Dataset,
    assert_nothing_is_lost,
    found,
    row,
)

TRAIN = "train/annotations.jsonl"
VALID = "valid/annotations.jsonl"
TEST = "test/annotations.jsonl"


@pytest.mark.parametrize("make", [None, Path.touch, os.mkfifo])
def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path, make: object) -> None:
    root = tmp_path / "root"
    if callable(make):
        make(root)
    for use in (list_annotation_files, fingerprint):
        with pytest.raises(AnnotationError, match="dataset root"):
            use(root)
    with pytest.raises(AnnotationError, match="dataset root"):
        validate(root, Rules())


def test_the_fingerprint_is_that_of_the_summary(good: Dataset) -> None:
    assert fingerprint(good.root).digest == good.validate().summary["fingerprint"]
    assert fingerprint(good.root).files == 3


def test_the_fingerprint_sees_content_names_and_new_files(good: Dataset) -> None:
    seen = {fingerprint(good.root).digest}
    file = good.root / "train/annotations.jsonl"
    times = os.stat(file)
    good.bytes("train/annotations.jsonl", file.read_bytes().replace(b'"7"', b'"8"', 1))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    seen.add(fingerprint(good.root).digest)
    file.rename(good.root / "train/renamed.jsonl")
    seen.add(fingerprint(good.root).digest)
    good.bytes("train/more.jsonl", b"")
    seen.add(fingerprint(good.root).digest)
    os.mkfifo(good.root / "train/pipe.jsonl")
    seen.add(fingerprint(good.root).digest)
    assert len(seen) == 5


def test_the_fingerprint_does_not_depend_on_where_the_dataset_lies(
    good: Dataset, tmp_path: Path
) -> None:
    before = fingerprint(good.root)
    moved = good.root.rename(tmp_path / "elsewhere")
    assert fingerprint(moved) == before


def test_read_file_reads_inside_and_refuses_the_rest(good: Dataset) -> None:
    (good.root.parent / "secret").write_text("secret")
    (good.root / "out").symlink_to("../secret")
    (good.root / "in").symlink_to("train/annotations.jsonl")
    os.mkfifo(good.root / "pipe")
    inside = read_file(good.root, "train/annotations.jsonl")
    assert inside == (good.root / "train/annotations.jsonl").read_bytes()
    assert read_file(good.root, "in") == inside
    for name in ("../secret", "out", "pipe", "none", "train", "/etc/passwd"):
        with pytest.raises(AnnotationError, match=name):
            read_file(good.root, name)


AUDITED = """
import os, sys
from pathlib import Path

root = sys.argv[1]

from jersey_assets.annotations.validate import validate
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.disk.fingerprint import fingerprint
import pandera.backends.pandas.register  # what pandera imports on first use

validate(Path(sys.argv[2]), Rules())  # another dataset: all lazy imports happen here

opened = []
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        opened.append((event, arguments[0], arguments[2] if event == "open" else 0))
    if event.startswith(("subprocess.", "os.exec", "socket.", "os.posix_spawn")):
        opened.append((event, "/", 0))
sys.addaudithook(hook)
validation = validate(Path(root), Rules())
fingerprint(Path(root))
seen = list(opened)
for event, path, flags in seen:
    if isinstance(path, int):
        continue  # an open folder, listed
    path = os.fsdecode(path)
    if path == root:
        continue
    # Everything else is opened by its bare name in an open folder, links refused.
    assert "/" not in path and path not in ("..", "."), (event, path)
    assert flags & os.O_NOFOLLOW, (event, path)
names = {os.fsdecode(path) for _, path, _ in seen if not isinstance(path, int)}
assert "annotations.jsonl" in names and "0.png" in names, names
bad = names & {"pipe.jsonl", "pipe.png", "secret.png", "zero.png", "out", "x.sock"}
assert not bad, bad
print(validation.summary["rows"], len(seen))
"""


def test_nothing_outside_the_root_and_no_device_is_ever_opened(
    good: Dataset, pattern_dataset: Path, tmp_path: Path
) -> None:
    """An audit hook sees every open of the interpreter.

    Files are opened by name in a folder that is already open, never through a link,
    starting from the root itself: so seeing that no name has a slash or dots, and that
    no open follows links, is seeing that nothing else can be reached.
    """
    outside = Dataset(tmp_path / "outside")
    outside.image("secret.png", 99)
    (good.root / "train/out").symlink_to(outside.root)
    (good.root / "train/crops/zero.png").symlink_to("/dev/zero")
    (good.root / "train/crops/secret.png").symlink_to(outside.root / "secret.png")
    os.mkfifo(good.root / "train/crops/pipe.png")
    os.mkfifo(good.root / "train/pipe.jsonl")
    paths = [
        "crops/zero.png",
        "crops/secret.png",
        "crops/pipe.png",
        "out/secret.png",
        "../../outside/secret.png",
        str(outside.root / "secret.png"),
        "file:///etc/passwd",
    ]
    good.lines("train/annotations.jsonl", [row(path, "7") for path in paths])
    audited = subprocess.run(
        [sys.executable, "-c", AUDITED, str(good.root), str(pattern_dataset)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert audited.returncode == 0, audited.stderr
    assert audited.stdout.split()[0] == str(20 + len(paths))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_read_is_named(good: Dataset) -> None:
    script = (
        "import os, sys, json; from pathlib import Path;"
        "from jersey_assets.annotations.validate import validate;"
        "from jersey_assets.annotations.rules import Rules;"
        "os.setuid(65534);"
        "v = validate(Path(sys.argv[1]), Rules());"
        "print(json.dumps([*zip(v.rejected['file'], v.rejected['reason'])]))"
    )
    (good.root / "train/closed").mkdir(mode=0o000)
    good.image("train/crops/x.png", 99)
    good.lines("train/more.jsonl", [row("crops/x.png", "7")])
    good.lines("train/shut.jsonl", [row("crops/x.png", "7")])
    (good.root / "train/shut.jsonl").chmod(0o000)
    (good.root / "train/crops/x.png").chmod(0o000)
    for folder in [good.root, *good.root.parents][:-1]:
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", script, str(good.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "PermissionError" in done.stderr:
        pytest.skip("the interpreter itself cannot be read by somebody else")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        '[["train/closed", "file.unreadable"], ["train/more.jsonl", "path.unreadable"],'
        ' ["train/shut.jsonl", "file.unreadable"]]'
    )


@pytest.mark.parametrize("swap", ["link", "fifo", "gone", "folder link"])
def test_a_file_that_was_swapped_after_listing_is_refused(
    good: Dataset, swap: str
) -> None:
    listed = list_annotation_files(good.root)[0]
    path = good.root / listed.path
    path.unlink()
    if swap == "link":
        path.symlink_to("/etc/passwd")
    elif swap == "fifo":
        os.mkfifo(path)
    elif swap == "folder link":
        path.parent.rename(good.root.parent / "train")
        (good.root.parent / "train/annotations.jsonl").write_bytes(b"secret")
        path.parent.symlink_to(good.root.parent / "train")
    with pytest.raises(PathError):
        open_annotation_file(str(good.root), listed)


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
