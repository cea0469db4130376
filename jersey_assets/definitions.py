"""The front door: everything that Dagster loads, on one page."""

from __future__ import annotations

import warnings

import dagster as dg

with warnings.catch_warnings():
    # Dagster announces every use of its newer parts at each load.
    warnings.simplefilter("ignore", dg.BetaWarning)
    from jersey_assets import assets, automation, checks

from jersey_assets.console import console
from jersey_assets.resources import Artifacts, Dataset

defs = dg.Definitions(
    assets=[
        assets.annotation_files,
        assets.annotations,
        assets.class_mapping,
        assets.dataset_statistics,
        assets.trained_checkpoint,
        assets.evaluation_report,
        assets.onnx_model,
        assets.parity_report,
        assets.released_model,
    ],
    asset_checks=checks.CHECKS,
    jobs=[automation.retrain, automation.validate],
    sensors=[automation.new_annotations],
    resources={"dataset": Dataset(), "artifacts": Artifacts()},
    loggers={"console": console},
    # A process per step and check costs seconds each and swallows signals.
    executor=dg.in_process_executor,
)
