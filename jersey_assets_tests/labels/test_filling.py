"""Drawn crops: as many as are missing, the same every time, for train alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from jersey_assets.labels.filling import Filling, draw_missing, write_drawn
from jersey_assets.training.data.crops import load_drawn

COUNTS = {"": 3, "7": 1, "12": 4, "123": 0}


def draw(fill_to: int, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    said: list[str] = []
    filling = Filling(fill_to=fill_to, seed=seed)
    return draw_missing(filling, COUNTS, said.append), said


def test_every_label_is_filled_up_and_those_beyond_the_renderer_are_named() -> None:
    drawn, said = draw(4)
    assert drawn["label"].value_counts().to_dict() == {"7": 3, "": 1}
    assert said[-1] == 'the renderer cannot draw these labels: "123"'


def test_a_crop_depends_on_seed_label_and_number_alone() -> None:
    few, more = draw(4)[0], draw(6)[0]
    assert set(few["png"]) < set(more["png"])
    assert more["png"].is_unique
    assert set(draw(4, seed=1)[0]["png"]).isdisjoint(more["png"])


def test_nothing_is_drawn_by_default(tmp_path: Path) -> None:
    drawn, _ = draw(Filling().fill_to)
    write_drawn(drawn, tmp_path)
    read = pd.read_parquet(tmp_path / "crops.parquet")
    assert not (tmp_path / "drawn.png").exists()
    crops = load_drawn(read, {"7": 0}, 32)
    assert crops.images.shape == (0, 3, 32, 32)


def test_drawn_crops_become_training_crops(tmp_path: Path) -> None:
    write_drawn(draw(4)[0], tmp_path)
    assert (tmp_path / "drawn.png").stat().st_size > 1000
    read = pd.read_parquet(tmp_path / "crops.parquet")
    crops = load_drawn(read, {"": 0, "7": 1}, 32)
    assert crops.targets.tolist() == [0, 1, 1, 1]
    both = crops + crops
    assert len(both) == len(both.images) == len(both.targets) == 8


def test_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Filling(fill_to=-1)
