"""The class mapping and the statistics, on small tables."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from jersey_assets.labels.file import (
    LabelsError,
    read_classes,
    read_labels,
    write_labels,
)
from jersey_assets.labels.mapping import class_mapping, verdicts
from jersey_assets.labels.statistics import dataset_statistics, write_statistics


def make_table(rows: list[tuple[str, str]]) -> pd.DataFrame:
    """A validated table of (split, label) rows."""
    return pd.DataFrame(rows, columns=["split", "label"])


def test_labels_are_sorted_as_strings_with_none_first() -> None:
    table = make_table([("train", label) for label in ["9", "10", "", "00", "0", "9"]])
    mapping = class_mapping(table)
    assert mapping == {"": 0, "0": 1, "00": 2, "10": 3, "9": 4}
    assert list(mapping) == sorted(mapping)


def test_only_train_makes_classes() -> None:
    table = make_table([("train", "1"), ("valid", "2"), ("test", "3")])
    assert class_mapping(table) == {"1": 0}


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_labels(["", "7"], tmp_path)
    assert read_classes(tmp_path) == {"": 0, "7": 1}
    said = json.loads((tmp_path / "labels_mapping.json").read_text())
    assert said == {
        "num_classes": 2,
        "class_to_idx": {"": 0, "7": 1},
        "idx_to_class": {"0": "", "1": "7"},
    }


def test_a_labels_file_that_is_no_file_is_named_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "labels_mapping.json"
    os.mkfifo(path)
    with pytest.raises(LabelsError, match="not a regular file"):
        read_labels(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(LabelsError, match="not a regular file"):
        read_labels(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(LabelsError, match="not a regular file"):
        read_labels(path)


@pytest.mark.parametrize(
    ("mapping", "broken"),
    [
        ({"1": 0, "2": 1}, set()),
        ({"1": 0, "2": 2}, {"mapping_is_contiguous"}),
        ({"1": 0, "2": 0}, {"mapping_is_contiguous"}),
        ({"1": 0}, {"mapping_covers_train"}),
        ({"1": 0, "2": 1, "3": 2}, {"mapping_covers_train"}),
        ({}, {"mapping_covers_train"}),
    ],
)
def test_a_mapping_is_held_to_its_promises(
    mapping: dict[str, int], broken: set[str]
) -> None:
    table = make_table([("train", "1"), ("train", "2")])
    found = verdicts(mapping, table)
    assert {verdict.name for verdict in found if not verdict.passed} == broken


@pytest.fixture
def painted(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """Three crops of one colour each: two in train, one in valid."""
    rows = []
    for name, split, label, color, size in [
        ("a", "train", "1", (255, 0, 0), (10, 20)),
        ("b", "train", "2", (0, 0, 0), (30, 40)),
        ("c", "valid", "1", (255, 255, 255), (20, 20)),
    ]:
        Image.new("RGB", size, color).save(tmp_path / f"{name}.png")
        metadata = json.dumps({"jersey_color": "red" if name == "a" else "black"})
        digest = hashlib.sha256((tmp_path / f"{name}.png").read_bytes()).hexdigest()
        rows.append((split, f"{name}.png", digest, label, *size, metadata))
    columns = ["split", "image", "image_sha256", "label", "width", "height", "metadata"]
    return tmp_path, pd.DataFrame(rows, columns=columns)


def test_statistics_count_and_measure(painted: tuple[Path, pd.DataFrame]) -> None:
    found = dataset_statistics(*painted)
    assert found["images"] == {"train": 2, "valid": 1}
    assert found["classes"] == {
        "1": {"train": 1, "valid": 1},
        "2": {"train": 1, "valid": 0},
    }
    assert found["mean"] == [0.5, 0.0, 0.0]
    assert found["std"] == [0.5, 0.01, 0.01]
    assert found["width"] == {"min": 10, "median": 20, "max": 30}
    assert found["imbalance"] == 1
    assert found["metadata"] == {"jersey_color": {"black": 1, "red": 1}}


def test_statistics_are_written_with_pictures(
    painted: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_statistics(dataset_statistics(*painted), painted[1], out)
    assert {path.name for path in out.iterdir()} == {
        "statistics.json",
        "classes.png",
        "sizes.png",
        "metadata.png",
    }


def test_a_dataset_without_metadata_has_statistics_too(
    painted: tuple[Path, pd.DataFrame],
) -> None:
    root, table = painted
    assert dataset_statistics(root, table.assign(metadata=None))["metadata"] == {}
