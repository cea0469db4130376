"""Reads Dagster's event log: which annotations runs read, and what checks said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from jersey_assets.runs.dagster_internals import newest_answer, unanswered_run

READ_TAG = "dataset_fingerprint"
"""Run tag: the annotations that the run read, or, until then, was requested for."""

ASKED_TAG = "dataset_fingerprint_asked_for"
"""Run tag: the annotations that the sensor saw when it requested the run."""

TRAINED = dg.AssetKey("trained_checkpoint")


def tell_answers_again(instance: dg.DagsterInstance, run_id: str) -> int:
    """Reports the last answers of checks again, after a run that ended before them.

    Dagster shows a check's newest entry; a run that includes the check makes one when
    it starts, which stays empty if the run does not get that far.

    Returns:
        The number of checks.
    """
    planned = instance.all_logs(
        run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    )
    told = 0
    for event in planned:
        assert event.dagster_event is not None
        key = event.dagster_event.asset_check_planned_data.asset_check_key
        said = newest_answer(instance, key)
        if said is not None and unanswered_run(instance, key) == run_id:
            instance.report_runless_asset_event(said)
            told += 1
    return told


def last_read(
    instance: dg.DagsterInstance, manifest: Mapping[str, Any] | None
) -> tuple[str, bool]:
    """What the published training read, and whether its run succeeded.

    Annotations with an irrelevant difference (in white space, say) lead to the same
    artifact, whose manifest names the annotations that it was made from. So the run
    that reported it last is looked up first.

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
    """The checks that stopped a run, with their messages."""
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
