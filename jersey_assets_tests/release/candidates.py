"""Recipes and runs that tests of releases share."""

from __future__ import annotations

import dagster as dg

from jersey_assets.storage.manifest import Artifact
from jersey_assets_tests.whole_graph import (
    TINY_RECIPE,
)

# Reads something after seconds; the other has hardly begun.
BAD = TINY_RECIPE | {"epochs": 1, "learning_rate": 1e-7}


def decision(result: dg.ExecuteInProcessResult) -> str:
    """What the page of the released model says about the last run."""
    made = result.asset_materializations_for_node("released_model")[0]
    return str(made.metadata["decision"].value)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What stopped a run."""
    (event,) = result.get_step_failure_events()
    assert event.step_failure_data.error is not None
    return str(event.step_failure_data.error.cause or event.step_failure_data.error)


def other_weights(release: Artifact) -> str:
    return str(release.manifest["inputs"]["trained_checkpoint"]["version"])
