"""A Dagster home, a preset, and the release of a whole run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from jersey_assets_tests.commands.processes import ROOT
from jersey_assets_tests.whole_graph import GOOD_RECIPE


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home with the shipped settings."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dagster.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick preset with a recipe small enough for a test, and good enough."""
    config = yaml.safe_load((ROOT / "presets" / "quick.yaml").read_text())
    recipe = config["ops"]["trained_checkpoint"]["config"]
    recipe.update(GOOD_RECIPE)
    path = tmp_path_factory.mktemp("preset") / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def released(whole_run) -> Path:
    """Folder of the released model."""
    folder = whole_run[1] / "released_model"
    current = json.loads((folder / "current.json").read_text())
    return folder / current["version"]
