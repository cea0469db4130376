"""The drawn datasets as validation sees them: a clean one, and one of chosen faults."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jersey_assets.annotations.reasons import REASONS
from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets.rendering.crops import render_crop
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets.rendering.errors import RenderError
from jersey_assets.rendering.faults import render_faults
from jersey_assets_tests.annotations.datasets import assert_nothing_is_lost, found


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_each_planted_fault_is_found_where_it_stands_and_nothing_else(
    seed: int, tmp_path: Path
) -> None:
    planted = render_faults(tmp_path / "faults", seed)
    validation = validate(tmp_path / "faults", Rules())
    assert found(validation) == {(p.file, p.line, p.reason) for p in planted}
    families = {reason.partition(".")[0] for reason in REASONS} - {"file", "dataset"}
    assert {fault.reason.partition(".")[0] for fault in planted} == families
    assert validation.summary["outcome"] == "quarantine"
    assert_nothing_is_lost(validation)


def test_a_seed_below_0_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="negative"):
        render_faults(tmp_path / "out", -1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [0, pytest.param(4, marks=pytest.mark.slow)])
def test_the_clean_dataset_has_no_finding_at_all(seed: int, tmp_path: Path) -> None:
    render_dataset(tmp_path / "clean", 400, 40, 40, seed)
    validation = validate(tmp_path / "clean", Rules())
    assert found(validation) == set()
    assert validation.summary["outcome"] == "accept"


def test_no_crop_is_flat() -> None:
    for number in range(200):
        crop, _ = render_crop("", np.random.default_rng((5, number)))
        stream = io.BytesIO()
        crop.save(stream, "JPEG", quality=92)
        extrema = Image.open(stream).convert("RGB").getextrema()
        assert max(high - low for low, high in extrema) > 12, number
