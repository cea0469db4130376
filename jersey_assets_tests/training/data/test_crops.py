"""Crops: what the table says, or an error."""

from __future__ import annotations

import logging
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from jersey_assets.annotations.disk.errors import AnnotationError
from jersey_assets.crops.decode import decode_crop
from jersey_assets.crops.prepare import normalize_crops, resize_crop
from jersey_assets.labels.mapping import class_mapping
from jersey_assets.training.data import crops
from jersey_assets.training.data.crops import (
    Crops,
    evaluation_split,
    load_crops,
    natural_size,
    normalize,
)


def test_crops_are_the_decoded_files_in_the_tables_order(
    rendered: Path, table: pd.DataFrame, train: Crops
) -> None:
    rows = table[table["split"] == "train"]
    mapping = class_mapping(table)
    assert train.images.dtype == torch.uint8
    assert train.targets.tolist() == [mapping[label] for label in rows["label"]]
    last = (rendered / rows["image"].iloc[-1]).read_bytes()
    expected = resize_crop(decode_crop(last), 32)
    assert np.array_equal(train.images[-1].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (28, 39, 64),  # numbers cut out of broadcasts
        (31, 68, 64),
        (60, 75, 80),
        (90, 130, 96),  # whole torsos
        (1920, 1080, 96),
    ],
)
def test_the_input_is_about_as_large_as_the_crops(
    width: int, height: int, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    spread = np.array([0.5, 0.9, 1.0, 1.1, 3.0])
    table = pd.DataFrame({"width": width * spread, "height": height * spread})
    with caplog.at_level(logging.INFO):
        assert natural_size(table) == size
    assert f"image_size: {size} px" in caplog.text
    assert f"longer side is {max(width, height)} px" in caplog.text


def test_a_crop_that_changed_since_validation_is_refused(
    rendered: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    rows = table[table["split"] == "valid"]
    changed = data / rows["image"].iloc[3]
    changed.write_bytes((data / rows["image"].iloc[4]).read_bytes())
    with pytest.raises(AnnotationError, match="changed since it was validated"):
        load_crops(data, rows, class_mapping(table), 32)


def test_more_crops_than_memory_should_hold_lie_in_a_file(
    rendered: Path, table: pd.DataFrame, train: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped() -> int:
        return sum("(deleted)" in line for line in open("/proc/self/maps"))

    before = mapped()
    monkeypatch.setattr(crops, "_IN_MEMORY", train.images.numel() - 1)
    rows = table[table["split"] == "train"]
    again = load_crops(rendered, rows, class_mapping(table), 32)
    both = again + train
    assert mapped() == before + 2
    assert torch.equal(again.images, train.images)
    assert torch.equal(both.images, torch.cat((train.images, train.images)))


def test_no_disk_for_many_crops_is_said_before_any_is_decoded(
    rendered: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "_IN_MEMORY", 0)
    rows = pd.concat([table[table["split"] == "train"]] * 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            load_crops(rendered, rows, class_mapping(table), 32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_models_are_judged_on_test_or_else_on_valid(table: pd.DataFrame) -> None:
    assert evaluation_split(table) == "test"
    assert evaluation_split(table[table["split"] != "test"]) == "valid"


def test_training_and_deployment_normalize_alike(train: Crops) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    ours = normalize(train.images[:8], mean, std).numpy()
    theirs = normalize_crops(
        train.images[:8].permute(0, 2, 3, 1).contiguous().numpy(), mean, std
    )
    assert np.array_equal(ours, theirs)
