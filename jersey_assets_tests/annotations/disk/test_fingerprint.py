"""The fingerprint sees what changes in the annotation files, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.annotations.disk.fingerprint import fingerprint
from jersey_assets.annotations.disk.listing import (
    list_annotation_files,
)
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets_tests.annotations.datasets import (
    Dataset,
)


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
