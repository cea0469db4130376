"""The sensor, ticked on a real instance as the daemon ticks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from jersey_assets.graph.resources import Artifacts, Dataset, Retraining
from jersey_assets.graph.training import NEWEST
from jersey_assets.operations.sensors import new_annotations
from jersey_assets_tests.whole_graph import TINY_RECIPE, run_graph

FAILED, ENDED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
KEY = dg.AssetKey("trained_checkpoint")


class Sensor:
    """Ticks the sensor as the daemon does: keeps its cursor, makes its runs."""

    def __init__(self, data: Path | str, artifacts: Path, instance: dg.DagsterInstance):
        self.data = data
        self.artifacts = artifacts
        self.instance = instance
        self.cursor: str | None = None
        self.says = ""
        self.settings: dict[str, Any] = {}

    def tick(self) -> list[dg.DagsterRun]:
        """One tick; the runs that it asked for."""
        resources = {
            "dataset": Dataset(root=str(self.data)),
            "artifacts": Artifacts(root=str(self.artifacts)),
            "retraining": Retraining(**self.settings),
        }
        with dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources=resources
        ) as context:
            data = new_annotations.evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        self.says = data.skip_message or ""
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return [
            create_run_for_test(
                self.instance,
                "retrain",
                run_config=request.run_config,
                tags={**request.tags, "dagster/run_key": str(request.run_key)},
            )
            for request in data.run_requests or []
        ]

    def ask(self) -> dg.DagsterRun:
        """Ticks until a run is asked for: the second look at new annotations."""
        assert self.tick() == []
        assert "a second look" in self.says
        (run,) = self.tick()
        return run

    def quiet(self, says: str, ticks: int = 2) -> None:
        """Ticks that ask for nothing, and why."""
        for _ in range(ticks):
            assert self.tick() == []
        assert says in self.says

    def end(self, run: dg.DagsterRun, status: dg.DagsterRunStatus = FAILED) -> None:
        """Ends a run, as Dagster does when its process says so."""
        report = {
            FAILED: self.instance.report_run_failed,
            dg.DagsterRunStatus.CANCELED: self.instance.report_run_canceled,
        }
        report[status](run)

    def train(self) -> str:
        """A run by hand, up to the training; its id."""
        made = run_graph(
            self.data,
            self.artifacts,
            self.instance,
            {**TINY_RECIPE, "epochs": 1},
            until="trained_checkpoint",
        )
        assert made.success
        return made.run_id

    def evaluation(self) -> dg.AssetCheckEvaluation | None:
        """The newest evaluation of the sensor's check."""
        key = dg.AssetCheckKey(KEY, NEWEST)
        storage = self.instance.event_log_storage
        records = storage.get_asset_check_execution_history(key, limit=1)
        return records[0].evaluation if records else None

    def check(self) -> bool | None:
        """Whether it passed."""
        found = self.evaluation()
        return None if found is None else found.passed

    def severity(self) -> dg.AssetCheckSeverity | None:
        """How bad it is."""
        found = self.evaluation()
        return None if found is None else found.severity
