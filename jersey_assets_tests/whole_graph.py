"""The graph run by tests: recipes that are small enough, and what a run reported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from jersey_assets.definitions import defs
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.storage.owner import DatasetRoot, adopt
from jersey_assets.storage.store import Store

REAL_DATA = Path(
    os.environ.get("JERSEY_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")
)
TINY_RECIPE = {
    "epochs": 2,
    "batch_size": 32,
    "image_size": 32,
    "learning_rate": 0.002,
}
GOOD_RECIPE = TINY_RECIPE | {
    "epochs": 40,
    "batch_size": 16,
    "learning_rate": 0.003,
    "augmentation": {
        "rotation": 6.0,
        "zoom": 0.15,
        "aspect": 0.05,
        "shift": 0.06,
        "shear": 0.1,
        "perspective": 0.05,
        "downscale_chance": 0.0,
        "blur_chance": 0.0,
        "noise_chance": 0.0,
        "erasing_chance": 0.0,
    },
}
"""Reads enough of the rendered numbers to be released: so few crops bear little
augmentation."""


def run_graph(
    data: Path | str,
    artifacts: Path | str,
    instance: dg.DagsterInstance,
    recipe: Mapping[str, Any] = TINY_RECIPE,
    until: str = "",
    **dataset: Any,
) -> dg.ExecuteInProcessResult:
    """Materializes the whole graph in this process, or what leads to one asset."""
    wanted = dg.AssetSelection.assets(*filter(None, ["rejected_annotations", until]))
    return dg.materialize(
        [*(defs.assets or ()), *(defs.asset_checks or ())],
        selection=wanted.upstream() if until else None,
        instance=instance,
        resources={
            "dataset": Dataset(root=str(data), **dataset),
            "artifacts": Artifacts(root=str(artifacts)),
        },
        run_config={"ops": {"trained_checkpoint": {"config": dict(recipe)}}}
        if until in ("", "trained_checkpoint", "evaluation_report")
        else None,
        raise_on_error=False,
    )


def hand_over(artifacts: Path | str, data: Path) -> None:
    """Makes copied artifacts those of a dataset that was copied, too."""
    adopt(Store(str(artifacts)), DatasetRoot(str(data)))


def check_results(
    result: dg.ExecuteInProcessResult,
) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """The checks that reported in a run, by asset and name."""
    return {
        (found.asset_key.to_user_string(), found.check_name): found
        for found in result.get_asset_check_evaluations()
    }


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that a run materialized."""
    return {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
