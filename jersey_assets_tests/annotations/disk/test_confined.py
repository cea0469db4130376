"""Only regular files below the root are opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jersey_assets.annotations.disk.confined import read_file
from jersey_assets.annotations.disk.errors import AnnotationError, PathError
from jersey_assets.annotations.disk.listing import (
    list_annotation_files,
    open_annotation_file,
)
from jersey_assets_tests.annotations.datasets import (
    Dataset,
    row,
)


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
