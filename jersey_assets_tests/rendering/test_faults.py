"""The drawn datasets as validation sees them: a clean one, and one of chosen faults."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jersey_assets.annotations.rules import Rules
from jersey_assets.annotations.validate import validate
from jersey_assets.rendering.crops import render_crop
from jersey_assets.rendering.dataset import render_dataset
from jersey_assets.rendering.errors import RenderError
from jersey_assets.rendering.faults import render_faults
from jersey_assets_tests.annotations.conftest import assert_nothing_is_lost, found


@pytest.mark.parametrize("seed", [0, 1])
def test_each_planted_fault_is_found_where_it_stands_and_nothing_else(
    seed: int, tmp_path: Path
) -> None:
    planted = render_faults(tmp_path / "faults", seed)
    validation = validate(tmp_path / "faults", Rules())
    assert found(validation) == {(p.file, p.line, p.reason) for p in planted}
    assert len({fault.reason for fault in planted}) == 20
    assert validation.summary["outcome"] == "quarantine"
    assert_nothing_is_lost(validation)


def test_the_command_prints_what_it_planted_and_validate_finds_it(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "jersey_assets.cli"]
    out = str(tmp_path / "my faults")
    drawn = subprocess.run(
        [*command, "render", out, "--faults"],
        check=True,
        capture_output=True,
        text=True,
    )
    *lines, last = drawn.stdout.splitlines()
    assert last == f"21 faults drawn; jersey-assets validate '{out}' finds them"
    ended = subprocess.run(
        [*command, "validate", out], check=True, capture_output=True, text=True
    )
    told = [line.split(": ")[::2][:2] for line in ended.stdout.splitlines()]
    for line in lines:
        assert line.split()[:2] in told


def test_a_seed_below_0_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="negative"):
        render_faults(tmp_path / "out", -1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [0, 4])
def test_the_clean_dataset_has_no_finding_at_all(seed: int, tmp_path: Path) -> None:
    render_dataset(tmp_path / "clean", 600, 100, 100, seed)
    validation = validate(tmp_path / "clean", Rules())
    assert found(validation) == set()
    assert validation.summary["outcome"] == "accept"


def test_no_crop_is_flat() -> None:
    for number in range(600):
        crop, _ = render_crop("", np.random.default_rng((5, number)))
        stream = io.BytesIO()
        crop.save(stream, "JPEG", quality=92)
        extrema = Image.open(stream).convert("RGB").getextrema()
        assert max(high - low for low, high in extrema) > 12, number
