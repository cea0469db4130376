"""The front door: everything that Dagster loads, on one page."""

from __future__ import annotations

import warnings

import dagster as dg

with warnings.catch_warnings():
    # Dagster announces every use of its newer parts at each load.
    warnings.simplefilter("ignore", dg.BetaWarning)
    from jersey_assets.graph import assets, checks
    from jersey_assets.operations import automation

from jersey_assets.graph.resources import Artifacts, Dataset, Retraining
from jersey_assets.operations.console import console
from jersey_assets.runs.executor import in_process

defs = dg.Definitions(
    assets=assets.ASSETS,
    asset_checks=checks.CHECKS,
    jobs=[automation.retrain, automation.validate],
    sensors=[
        automation.new_annotations,
        automation.lost_runs,
        automation.failed_runs,
        automation.terminated_runs,
    ],
    resources={
        "dataset": Dataset(),
        "artifacts": Artifacts(),
        "retraining": Retraining(),
    },
    loggers={"console": console},
    executor=in_process,
)
