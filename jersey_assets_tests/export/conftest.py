"""Crops and a report of the small model, made once per test session."""

from __future__ import annotations

from typing import Any

import pytest

from jersey_assets.export.comparison import compare
from jersey_assets.training.checkpoint import Checkpoint
from jersey_assets.training.data.crops import Crops
from jersey_assets_tests.export.models import make_crops


@pytest.fixture(scope="session")
def crops() -> Crops:
    return make_crops(40, 32)


@pytest.fixture(scope="session")
def report(
    small: Checkpoint,
    small_bytes: bytes,
    crops: Crops,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """The small model compared with its checkpoint."""
    path = tmp_path_factory.mktemp("parity") / "model.onnx"
    path.write_bytes(small_bytes)
    return compare(path, small, crops).report
