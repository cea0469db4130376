"""Files and splits: `file.*` and `dataset.*`, for which no row is used."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable

import pytest

from jersey_assets_tests.annotations.datasets import (
    GOOD,
    JPEG,
    JSONL,
    TRAIN,
    Dataset,
    check,
    row,
)

FOREIGN_FILES = {
    "AppleDouble": b"\x00\x05\x16\x07\n" + JSONL,
    "gzip": gzip.compress(JSONL * 10),
    "ZIP": b"PK\x03\x04" + JSONL,
    "UTF-16": JSONL.decode().encode("utf-16"),
    "UTF-16 little": JSONL.decode().encode("utf-16-le"),
    "UTF-16 big": JSONL.decode().encode("utf-16-be"),
    "UTF-32": JSONL.decode().encode("utf-32"),
    "JPEG": JPEG,
    "binary": bytes(range(128, 256)) * 4,
}


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_a_file_that_is_no_jsonl_rejects_the_dataset(good: Dataset, name: str) -> None:
    good.bytes("train/more.jsonl", FOREIGN_FILES[name])
    check(good, "reject", {("train/more.jsonl", 0, "file.encoding")})


def file_is_fifo(data: Dataset) -> None:
    os.mkfifo(data.root / "train/more.jsonl")


def file_is_folder(data: Dataset) -> None:
    (data.root / "train/more.jsonl").mkdir()


def file_links_out(data: Dataset) -> None:
    (data.root.parent / "secret.jsonl").write_bytes(JSONL)
    (data.root / "train/more.jsonl").symlink_to("../../secret.jsonl")


def file_links_to_zero(data: Dataset) -> None:
    (data.root / "train/more.jsonl").symlink_to("/dev/zero")


def file_links_nowhere(data: Dataset) -> None:
    (data.root / "train/more.jsonl").symlink_to("nowhere")


def file_links_to_fifo(data: Dataset) -> None:
    os.mkfifo(data.root / "train/pipe")
    (data.root / "train/more.jsonl").symlink_to("pipe")


@pytest.mark.parametrize(
    "make",
    [
        file_is_fifo,
        file_is_folder,
        file_links_out,
        file_links_to_zero,
        file_links_nowhere,
        file_links_to_fifo,
    ],
)
def test_an_annotation_file_that_is_no_file_rejects_the_dataset(
    good: Dataset, make: Callable[[Dataset], None]
) -> None:
    make(good)
    check(good, "reject", {("train/more.jsonl", 0, "file.not_regular")})


def test_an_annotation_file_without_a_utf8_name_rejects_the_dataset(
    good: Dataset,
) -> None:
    path = os.fsencode(good.root) + b"/train/caf\xe9.jsonl"
    with open(path, "wb") as stream:
        stream.write(JSONL)
    check(good, "reject", {(r"train/caf\xe9.jsonl", 0, "file.unreadable")})


def test_companions_that_macos_writes_are_no_annotations(good: Dataset) -> None:
    good.bytes("train/._annotations.jsonl", b"\x00\x05\x16\x07" + bytes(100))
    check(good, "accept", set())
    good.bytes("train/._annotations.jsonl", GOOD + b"\n")
    check(
        good,
        "accept_with_warning",
        {(TRAIN, 1, "label.duplicate")},
    )


def test_a_folder_that_links_out_of_the_dataset_is_not_searched(good: Dataset) -> None:
    (good.root.parent / "outside").mkdir()
    (good.root.parent / "outside/more.jsonl").write_bytes(JSONL)
    (good.root / "train/more").symlink_to("../../outside")
    check(good, "accept", set())


def test_a_split_that_links_out_of_the_dataset_is_refused(good: Dataset) -> None:
    (good.root / "test").rename(good.root.parent / "outside")
    (good.root / "test").symlink_to("../outside")
    check(good, "reject", {("test", 0, "file.not_regular")})


def test_a_dataset_without_train_is_rejected(good: Dataset) -> None:
    (good.root / "train").rename(good.root / "training")
    check(good, "reject", {("train", 0, "dataset.no_train")})


def test_a_dataset_without_valid_is_rejected(good: Dataset) -> None:
    (good.root / "valid").rename(good.root / "validation")
    check(good, "reject", {("valid", 0, "dataset.no_valid")})


def test_an_empty_train_file_is_no_train(good: Dataset) -> None:
    good.bytes(TRAIN, b"")
    check(good, "reject", {("train", 0, "dataset.no_train")})


def test_a_dataset_of_one_label_is_rejected(good: Dataset) -> None:
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        rows = [row(f"crops/{n}.png", "7") for n in range(count)]
        text = "".join(json.dumps(r) + "\n" for r in rows).encode()
        good.bytes(f"{split}/annotations.jsonl", text)
    check(good, "reject", {("train", 0, "dataset.single_class")})


def test_macos_companion_files_hold_no_rows(good: Dataset) -> None:
    good.bytes("train/._annotations.jsonl", b"\x00\x05\x16\x07\x00\x02\x00\x00" * 10)
    check(good, "accept", set())


def test_val_is_another_name_of_valid(good: Dataset) -> None:
    (good.root / "valid").rename(good.root / "val")
    validation = good.validate()
    assert validation.summary["splits"]["valid"] == {"rows": 4, "kept": 4}
    assert validation.summary["outcome"] == "accept"


def test_files_at_any_depth_are_read(good: Dataset) -> None:
    good.image("train/a/b/c/x.png", 99)
    good.lines("train/a/b/c/deep.jsonl", [row("x.png", "7")])
    check(good, "accept", set())


def test_folders_that_link_to_each_other_end(good: Dataset) -> None:
    (good.root / "train/again").symlink_to(".")
    (good.root / "train/crops/up").symlink_to("..")
    told = {(f"train/{name}", 0, "file.linked") for name in ("again", "crops/up")}
    check(good, "accept_with_warning", told)
