"""What validation says about real data, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate

DATA = Path(
    os.environ.get("JERSEY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")
)


def dataset(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not here")
    return DATA / name


def test_every_conflicting_pair_of_basketball_is_named_by_line() -> None:
    validation = validate(dataset("basketball"), Rules())
    rejected = validation.rejected
    assert set(rejected["reason"]) == {"label.conflict"}
    assert len(rejected) == 94
    assert rejected["image"].nunique() == 47
    for _, pair in rejected.groupby("image"):
        (first, other), (line, partner) = pair["message"], pair["line"]
        assert f":{partner};" in first
        assert f":{line};" in other
    assert validation.summary["outcome"] == "quarantine"


def test_preferring_numbers_keeps_every_image_of_basketball() -> None:
    validation = validate(dataset("basketball"), Rules(conflict_policy="prefer_number"))
    assert validation.summary["kept"] == 2891 + 364
    assert validation.summary["resolved"] == 47


def test_meter_digits_has_no_errors() -> None:
    validation = validate(dataset("meter_digits"), Rules())
    assert validation.rejected.empty
    assert validation.summary["kept"] == 1505
    assert set(validation.summary["reasons"]) == {"image.flat", "leak.near"}
