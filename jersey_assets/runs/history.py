"""Whether the annotations that lie there call for a retraining, and what runs say.

Everything is derived, on each tick, from what is published and from the runs that the
instance knows: a request that got lost, a run that failed and annotations that were put
back heal by themselves. The cursor holds what no run can tell.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
)

READ_TAG = "dataset_fingerprint"
"""Run tag: the annotations that the run reads; what it was asked for until it has."""

ASKED_TAG = "dataset_fingerprint_asked_for"
"""Run tag: the annotations that the sensor saw when it asked for the run."""

ANSWERED = COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
"""How a check's entry stands where it was asked and has answered."""

TRAINED = dg.AssetKey("trained_checkpoint")
GROWTH = 4

_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_NOT_ENDED = [status for status in dg.DagsterRunStatus if status.value not in _ENDED]


@dataclass(frozen=True)
class Cursor:
    """What the sensor remembers from tick to tick.

    Attributes:
        fingerprint: the annotations that the last tick saw.
        runs_before: storage id of the newest run when these were first seen; later
            runs are attempts at these annotations, and ids grow whatever the clock
            does.
        given_up: the annotations that the failed check was reported for, if any.
    """

    fingerprint: str = ""
    runs_before: int = 0
    given_up: str = ""

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """The cursor that a tick left; a fresh one where there is none of this form."""
        try:
            return cls(**json.loads(text or "{}"))
        except (ValueError, TypeError):
            return cls()

    def write(self) -> str:
        """The cursor as text."""
        return json.dumps(asdict(self))


def runs_since(
    instance: dg.DagsterInstance, cursor: Cursor, tag: str
) -> list[dg.RunRecord]:
    """Runs tagged with the cursor's annotations since these landed, newest first."""
    tagged = dg.RunsFilter(tags={tag: cursor.fingerprint})
    records = instance.get_run_records(tagged, limit=100)
    return [record for record in records if record.storage_id > cursor.runs_before]


def no_use(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Says why another run would end like this one; empty where it might not."""
    name = f"run {run.run_id[:8]} for these annotations"
    if was_terminated(run):
        return (
            f"{name} was terminated by a person, so the sensor does not start another; "
            "the model trained before stays in use: start `retrain` by hand to train "
            "on what is there now"
        )
    broken = broken_blocking_checks(instance, run.run_id)
    if broken:
        return (
            f"{name} stopped at {', '.join(sorted(broken))}; repair them, or start "
            "`retrain` by hand where the cause lay elsewhere. "
            + " ".join(broken.values())
        )
    return ""


def was_terminated(run: dg.DagsterRun) -> bool:
    """Whether somebody told the run to stop."""
    return run.status is dg.DagsterRunStatus.CANCELED


def tell_answers_again(instance: dg.DagsterInstance, run_id: str) -> int:
    """Reports once more what checks said before a run that ended without asking them.

    Dagster shows a check's newest entry; a run that was to ask it makes one when it
    starts, which stays empty where the run does not get that far.

    Returns:
        How many checks that were.
    """
    planned = instance.all_logs(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    )
    told = 0
    for event in planned:
        assert event.dagster_event is not None
        key = event.dagster_event.asset_check_planned_data.asset_check_key
        history = instance.event_log_storage.get_asset_check_execution_history
        newest = next(iter(history(key, limit=1)), None)
        if newest is None or newest.run_id != run_id or newest.status in ANSWERED:
            continue
        for record in history(key, limit=1, status=set(ANSWERED)):
            if (said := record.evaluation) is not None:
                instance.report_runless_asset_event(said)
                told += 1
    return told


def wait_s(asked: Sequence[dg.RunRecord], first_wait_s: float) -> float:
    """Seconds until the next attempt; each wait is `GROWTH` times the last.

    Args:
        asked: the attempts so far, newest first.
        first_wait_s: seconds between the first and the second.
    """
    if not asked:
        return 0.0
    wait = first_wait_s * GROWTH ** (len(asked) - 1)
    elapsed = time.time() - (asked[0].end_time or 0.0)
    # A clock that was set back must not make a wait of years.
    return wait - elapsed if abs(elapsed) < wait else 0.0


def newest_run(instance: dg.DagsterInstance) -> int:
    """Storage id of the newest run, 0 where there is none."""
    records = instance.get_run_records(limit=1)
    return records[0].storage_id if records else 0


def next_run_key(instance: dg.DagsterInstance, fingerprint: str) -> str:
    """The fingerprint and a number that no run for it has had yet."""
    runs = dg.RunsFilter(tags={ASKED_TAG: fingerprint})
    number = 0
    for record in instance.get_run_records(runs, limit=1):
        number = int(record.dagster_run.tags["dagster/run_key"].rpartition("-")[2])
    return f"{fingerprint}-{number + 1}"


def under_way(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun | None:
    """A run that has not ended and trains, or may."""
    for run in instance.get_runs(dg.RunsFilter(statuses=_NOT_ENDED)):
        if run.job_name == job or READ_TAG in run.tags:
            return run
    return None


def last_read(
    instance: dg.DagsterInstance, manifest: Mapping[str, Any] | None
) -> tuple[str, bool]:
    """What the published training read, and whether the run that published it held.

    Annotations that differ in nothing that counts (white space, say) lead to the
    artifact that is there already, whose manifest names the annotations that it was
    made from. So the run that reported it last is asked first.

    Args:
        instance: where the runs are.
        manifest: of the current `trained_checkpoint`, if there is one.
    """
    if manifest is None:
        return "", False
    fingerprint = str(manifest.get("dataset_fingerprint", ""))
    event = instance.get_latest_materialization_event(TRAINED)
    made = event.asset_materialization if event else None
    tags = made.tags if made else None
    if event and tags and tags.get("dagster/data_version") == manifest["digest"]:
        run = instance.get_run_by_id(event.run_id)
        if run is not None:
            held = run.status is dg.DagsterRunStatus.SUCCESS
            return run.tags.get(READ_TAG, fingerprint), held
    return fingerprint, True


def broken_blocking_checks(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """The checks that stopped a run, with what they said."""
    events = instance.all_logs(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    found = {}
    for event in events:
        assert event.dagster_event is not None
        check = event.dagster_event.asset_check_evaluation_data
        failed = not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        if failed and check.blocking:
            found[check.check_name] = check.description or ""
    return found
