"""The definitions that Dagster loads: assets, checks, jobs, sensors and resources."""

import warnings

import dagster as dg

with warnings.catch_warnings():
    # Dagster warns about every use of its newer features at each load.
    warnings.simplefilter("ignore", dg.BetaWarning)
    from jersey_assets.graph import annotations, export, labels, release, training
    from jersey_assets.operations import jobs, sensors

from jersey_assets.graph.resources import Artifacts, Dataset, Retraining
from jersey_assets.operations.console import console
from jersey_assets.runs.executor import in_process

PAGES = [annotations, labels, training, export, release]

defs = dg.Definitions(
    # One group: with more, the lineage page opens collapsed.
    assets=dg.load_assets_from_modules(PAGES, group_name="jersey_numbers"),
    asset_checks=dg.load_asset_checks_from_modules(PAGES),
    jobs=[jobs.retrain, jobs.validate],
    sensors=[
        sensors.new_annotations,
        sensors.lost_runs,
        sensors.failed_runs,
        sensors.terminated_runs,
    ],
    resources={
        "dataset": Dataset(),
        "artifacts": Artifacts(),
        "retraining": Retraining(),
    },
    loggers={"console": console},
    executor=in_process,
)
