"""A copy of the rendered dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def data(rendered: Path, tmp_path: Path) -> Path:
    """A copy of the rendered dataset that a test may break."""
    return Path(shutil.copytree(rendered, tmp_path / "data"))
