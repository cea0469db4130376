"""Answers `decide`'s questions about past and current runs from Dagster's instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from jersey_assets.operations.decide import Attempt, Cursor
from jersey_assets.operations.jobs import retrain, validate
from jersey_assets.runs.history import (
    ASKED_TAG,
    READ_TAG,
    broken_blocking_checks,
    last_read,
)

_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_NOT_ENDED = [status for status in dg.DagsterRunStatus if status.value not in _ENDED]


@dataclass(frozen=True)
class RunHistory:
    """The runs that an instance knows.

    Attributes:
        instance: where they are.
        trained: manifest of the current `trained_checkpoint`, if there is one.
    """

    instance: dg.DagsterInstance
    trained: Mapping[str, Any] | None

    def newest_run(self) -> int:
        """Storage id of the newest run, 0 if there is none."""
        records = self.instance.get_run_records(limit=1)
        return records[0].storage_id if records else 0

    def last_read(self) -> tuple[str, bool]:
        """What the published training read, and whether its run succeeded."""
        return last_read(self.instance, self.trained)

    def under_way(self) -> str:
        """Id of a run that is under way and trains, or may train; empty without one."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=_NOT_ENDED)):
            if run.job_name == retrain.name or READ_TAG in run.tags:
                return run.run_id
        return ""

    def asked(self, cursor: Cursor) -> list[Attempt]:
        """Runs that the sensor requested for these annotations, newest first."""
        return [
            Attempt(record.dagster_run.run_id, record.end_time or 0.0)
            for record in self._since(cursor, ASKED_TAG)
        ]

    def last_attempt(self, cursor: Cursor) -> Attempt | None:
        """The newest run, whoever started it, that has read these annotations."""
        for record in self._since(cursor, READ_TAG):
            run = record.dagster_run
            if run.job_name != validate.name:
                return Attempt(
                    run.run_id,
                    record.end_time or 0.0,
                    run.status is dg.DagsterRunStatus.CANCELED,
                    broken_blocking_checks(self.instance, run.run_id),
                )
        return None

    def next_run_key(self, fingerprint: str) -> str:
        """The fingerprint and a number that no run for it has used yet."""
        runs = dg.RunsFilter(tags={ASKED_TAG: fingerprint})
        number = 0
        for record in self.instance.get_run_records(runs, limit=1):
            key = record.dagster_run.tags["dagster/run_key"]
            number = int(key.rpartition("-")[2])
        return f"{fingerprint}-{number + 1}"

    def _since(self, cursor: Cursor, tag: str) -> list[dg.RunRecord]:
        """Runs tagged with the cursor's annotations since these were first seen."""
        tagged = dg.RunsFilter(tags={tag: cursor.fingerprint})
        records = self.instance.get_run_records(tagged, limit=100)
        return [record for record in records if record.storage_id > cursor.runs_before]
