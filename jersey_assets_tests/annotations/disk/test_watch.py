"""Looks are cheap, see every change, and no disk or file holds them up for good."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from jersey_assets.annotations.disk import watch as watching
from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.annotations.disk.watch import NotSeenError, Seen, Watch
from jersey_assets_tests.annotations.datasets import Dataset
from jersey_assets_tests.waiting import wait_until

TRAIN = "train/annotations.jsonl"


def age(file: Path, monkeypatch: pytest.MonkeyPatch, by: float = 60.0) -> None:
    """Lets a minute pass, so that what was just written counts as settled."""
    now = os.stat(file).st_ctime + by
    monkeypatch.setattr(watching.time, "time", lambda: now)


def look_until_seen(watch: Watch) -> Seen:
    def look() -> Seen | None:
        with contextlib.suppress(NotSeenError):
            return watch.look()
        return None

    return wait_until(look, "a look that sees all")


def test_a_look_finds_what_validation_reads(good: Dataset) -> None:
    good.bytes("train/more.jsonl", b'\n{"image": "a"}\r\n\t\n\n{"image": "b"}')
    seen = Watch(good.root).look()
    assert seen.fingerprint == fingerprint(good.root)
    assert seen.rows == good.validate().summary["rows"]


def test_a_settled_file_is_not_read_again_and_a_replaced_one_is(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(good.root)
    file = good.root / TRAIN
    age(file, monkeypatch)
    first = watch.look()
    opened: list[str] = []
    really_open = watching.open_annotation_file
    monkeypatch.setattr(
        watching,
        "open_annotation_file",
        lambda base, file: opened.append(file.path) or really_open(base, file),
    )
    assert watch.look() == first
    assert opened == []
    times = os.stat(file)
    other = file.with_name("new")
    other.write_bytes(file.read_bytes().replace(b'"7"', b'"8"', 1))
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(file)
    assert os.stat(file).st_size == times.st_size
    assert watch.look().fingerprint == fingerprint(good.root) != first.fingerprint
    assert opened == [TRAIN]


def test_a_file_that_just_changed_is_read_again(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within one step of the clock leave the same times and size."""
    watch = Watch(good.root)
    file = good.root / TRAIN
    good.bytes(TRAIN, file.read_bytes())  # a file of its own, to be written in place
    really = watching.signature

    def coarse(status: os.stat_result) -> tuple[int, int, int, int, int]:
        device, inode, size, *_ = really(status)
        return device, inode, size, 0, 0

    monkeypatch.setattr(watching, "signature", coarse)
    first = watch.look()
    size = file.stat().st_size
    file.write_bytes(file.read_bytes().replace(b'"7"', b'"8"', 1))
    assert file.stat().st_size == size
    assert watch.look() != first


def test_a_huge_file_is_read_piece_by_piece_and_named(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = os.stat(good.root / TRAIN).st_size
    monkeypatch.setattr(watching, "_CHUNK_BYTES", 7)
    age(good.root / TRAIN, monkeypatch)
    watch = Watch(good.root, budget_bytes=size // 4)
    for _ in range(4):
        with pytest.raises(NotSeenError, match=rf"{TRAIN} \({size:,} bytes\)"):
            watch.look()
    seen = look_until_seen(watch)
    assert seen.fingerprint == fingerprint(good.root)
    assert seen == Watch(good.root).look()
    huge = good.root / "train/huge.jsonl"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    for _ in range(3):
        with pytest.raises(NotSeenError, match=r"huge\.jsonl"):
            watch.look()
    huge.unlink()
    assert look_until_seen(watch).fingerprint == fingerprint(good.root)


def test_a_fifo_and_an_unreadable_file_do_not_hold_a_look_up(good: Dataset) -> None:
    os.mkfifo(good.root / "train/pipe.jsonl")
    (good.root / "train/nowhere.jsonl").symlink_to("gone.jsonl")
    seen = Watch(good.root).look(deadline_s=60)
    assert seen.fingerprint == fingerprint(good.root)


def test_a_disk_that_does_not_answer_holds_up_one_thread_only(
    good: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = threading.Event()
    really_list = watching.list_annotation_files

    def hang(root: Path) -> list[watching.AnnotationFile]:
        mounted.wait(60)
        return really_list(root)

    monkeypatch.setattr(watching, "list_annotation_files", hang)
    watch = Watch(good.root)
    threads = threading.active_count()
    for _ in range(3):
        with pytest.raises(NotSeenError, match="has not answered"):
            watch.look(deadline_s=0.05)
    assert threading.active_count() == threads + 1
    mounted.set()
    assert watch.look().fingerprint == fingerprint(good.root)


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "none")
    with pytest.raises(AnnotationError, match="does not exist"):
        watch.look()
    (tmp_path / "none").mkdir()
    assert watch.look().rows == 0
