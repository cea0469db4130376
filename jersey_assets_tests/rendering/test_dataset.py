"""Rendered datasets: the contract's layout, the promised labels, the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jersey_assets.rendering import dataset
from jersey_assets.rendering.dataset import LABELS, render_dataset
from jersey_assets.rendering.errors import RenderError

FEW = len(LABELS)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "dataset"
    render_dataset(out, train=FEW + 20, valid=FEW, test=FEW, seed=7)
    return out


def read_rows(root: Path, split: str) -> list[dict[str, Any]]:
    text = (root / split / "annotations.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_every_row_names_a_crop_that_opens_and_keeps_the_contract(
    rendered: Path,
) -> None:
    for split, count in (("train", FEW + 20), ("valid", FEW), ("test", FEW)):
        rows = read_rows(rendered, split)
        assert len(rows) == count
        assert len({row["image"] for row in rows}) == count
        for row in rows:
            assert row["prefix"] == "Read the number."
            assert row["suffix"] in LABELS
            assert {"jersey_color", "view"} <= set(row["metadata"])
            with Image.open(rendered / split / row["image"]) as crop:
                assert crop.mode == "RGB"
                assert min(crop.size) >= 8


def test_the_folder_holds_nothing_but_the_three_splits(rendered: Path) -> None:
    assert {path.name for path in rendered.iterdir()} == {"train", "valid", "test"}
    assert [path.name for path in rendered.parent.iterdir()] == ["dataset"]


def test_every_split_shows_every_label(rendered: Path) -> None:
    for split in ("train", "valid", "test"):
        assert {row["suffix"] for row in read_rows(rendered, split)} == set(LABELS)


def test_no_two_crops_have_the_same_pixels(rendered: Path) -> None:
    pixels = [
        hashlib.sha256(Image.open(path).tobytes()).digest()
        for path in rendered.rglob("*.jpg")
    ]
    assert len(pixels) == len(set(pixels)) == 3 * FEW + 20


def test_the_same_seed_gives_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    render_dataset(again, train=FEW + 20, valid=FEW, test=FEW, seed=7)
    assert read_files(again) == read_files(rendered)


def test_another_seed_gives_other_crops(rendered: Path, tmp_path: Path) -> None:
    render_dataset(tmp_path / "other", train=FEW, valid=FEW, test=FEW, seed=8)
    first, other = read_files(rendered), read_files(tmp_path / "other")
    crops = [name for name in other if name.endswith(".jpg")]
    assert all(first[name] != other[name] for name in crops)


def test_a_larger_dataset_begins_with_the_files_of_a_smaller(
    rendered: Path, tmp_path: Path
) -> None:
    render_dataset(tmp_path / "small", train=FEW, valid=FEW, test=FEW, seed=7)
    large = read_files(rendered)
    for name, data in read_files(tmp_path / "small").items():
        assert large[name].startswith(data)


def test_labels_are_as_unequal_as_real_ones_and_none_is_rare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dot = Image.new("RGB", (1, 1))
    monkeypatch.setattr(dataset, "render_crop", lambda *_: (dot, {}))
    render_dataset(tmp_path / "out", train=1_200, valid=200, test=FEW, seed=0)
    shown = {
        split: Counter(row["suffix"] for row in read_rows(tmp_path / "out", split))
        for split in ("train", "valid")
    }
    counts = shown["train"]
    assert {"", "0", "00"} <= set(LABELS)
    assert len(counts) == FEW >= 24
    assert min(counts.values()) >= 20
    assert max(counts.values()) >= 4 * min(counts.values())
    assert min(shown["valid"].values()) >= 3


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RenderError, match=r"not empty.*name a new folder"):
        render_dataset(tmp_path, train=FEW, valid=FEW, test=FEW, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RenderError, match="is a file"):
        render_dataset(tmp_path / "out", train=FEW, valid=FEW, test=FEW, seed=0)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    render_dataset(tmp_path, train=FEW, valid=FEW, test=FEW, seed=0)
    assert len(read_rows(tmp_path, "test")) == FEW


def test_an_interrupted_render_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = dataset.render_crop
    calls = iter(range(FEW + 5))

    def draw_until_interrupted(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return drawn(*arguments)

    monkeypatch.setattr(dataset, "render_crop", draw_until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_dataset(tmp_path / "out", train=FEW, valid=FEW, test=FEW, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"valid": FEW - 1}, f"valid = {FEW - 1} is too few"),
        ({"test": 0}, "test = 0 is too few"),
        ({"train": -5}, "train = -5 is too few"),
        ({"seed": -1}, "seed = -1 is negative"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, changed: dict[str, int], message: str
) -> None:
    arguments = {"train": FEW, "valid": FEW, "test": FEW, "seed": 0} | changed
    with pytest.raises(RenderError, match=message):
        render_dataset(tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []
