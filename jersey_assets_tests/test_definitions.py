"""The front door as Dagster and its command line see it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jersey_assets.definitions import defs

ROOT = Path(__file__).parents[1]
DG = Path(sys.executable).with_name("dg")

OWNERS = """
import json
from jersey_assets.definitions import defs
graph = defs.resolve_asset_graph()
print(json.dumps([graph.get(key).owners for key in graph.materializable_asset_keys]))
"""


def test_all_assets_are_in_one_group() -> None:
    """With more, the lineage page opens collapsed."""
    graph = defs.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert groups == {"jersey_numbers"}


def test_all_assets_have_the_owners_that_are_set() -> None:
    printed = subprocess.check_output(
        [sys.executable, "-c", OWNERS],
        env={**os.environ, "JERSEY_OWNERS": "team:vision, ann@example.com"},
        text=True,
    )
    owners = json.loads(printed.splitlines()[-1])
    assert owners == [["team:vision", "ann@example.com"]] * 11


@pytest.mark.skipif(not DG.exists(), reason="dagster-dg-cli is not installed")
def test_dagsters_own_look_finds_the_definitions_whole(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    checked = subprocess.run(
        [DG, "check", "defs"],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "All definitions loaded successfully" in checked.stdout + checked.stderr
