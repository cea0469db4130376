"""The front door as Dagster and its command line see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from jersey_assets.definitions import defs

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
