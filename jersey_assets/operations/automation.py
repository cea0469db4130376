"""Jobs, and the sensor that asks for a retraining when annotations change."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import dagster as dg

from jersey_assets.graph.resources import Artifacts, Dataset, Retraining, whole_number
from jersey_assets.graph.tags import GPU_TAGS
from jersey_assets.graph.training import NEWEST
from jersey_assets.operations import alerts
from jersey_assets.runs import history as runs
from jersey_assets.runs.history import ASKED_TAG, READ_TAG, Cursor
from jersey_assets.runs.liveness import end_lost_runs
from jersey_assets.storage.store import StorageError, UnreadableError
from jersey_assets.text import count

if TYPE_CHECKING:
    from jersey_assets.annotations.disk.files import Fingerprint

retrain = dg.define_asset_job(
    "retrain",
    dg.AssetSelection.all(),
    # The run is one process, so what launches runs must find the GPU's tags as well.
    tags=GPU_TAGS,
    description="The whole graph: annotations to released model.",
)

validate = dg.define_asset_job(
    "validate_annotations",
    dg.AssetSelection.assets("validated_annotations", "rejected_annotations"),
    description="Reads and judges the annotations; trains nothing.",
)


@dg.sensor(
    job=retrain,
    minimum_interval_seconds=whole_number("JERSEY_TICK_S", 30),
    description="Asks for `retrain` when the JSONL files are not those that the last "
    "training read, were the same two ticks in a row, and no training is under way. "
    "A run that failed is asked for again, after growing waits; where that is no use, "
    f"the check `{NEWEST}` of `trained_checkpoint` fails and says why.",
)
def new_annotations(
    context: dg.SensorEvaluationContext,
    dataset: Dataset,
    artifacts: Artifacts,
    retraining: Retraining,
) -> dg.SensorResult | dg.SkipReason:
    from jersey_assets.annotations.disk.files import AnnotationError
    from jersey_assets.annotations.disk.watch import NotSeenError, watch
    from jersey_assets.storage.mirror import MirrorError
    from jersey_assets.storage.owner import refuse_other

    try:
        used = dataset.used_with(artifacts)
        # Another dataset would be trained over the models of this one.
        refuse_other(artifacts.store(), used)
        seen = watch(used.path, used.mirror).look()
    except (AnnotationError, MirrorError, NotSeenError, StorageError) as error:
        return dg.SkipReason(str(error))
    if not seen.fingerprint.files:
        return dg.SkipReason(f"there are no annotation files in {used.root}")
    try:
        trained = artifacts.store().manifest("trained_checkpoint")
    except UnreadableError as error:
        return dg.SkipReason(str(error))
    except StorageError as error:
        context.log.warning(f"taken for not trained: {error}")
        trained = None
    instance, now = context.instance, seen.fingerprint.digest
    files = count(seen.fingerprint.files, "annotation file")
    cursor = Cursor.read(context.cursor)
    if now != cursor.fingerprint:
        cursor = replace(cursor, fingerprint=now, runs_before=runs.newest_run(instance))
        why = f"{files}, other than a tick ago: a second look will tell if they stay"
        return _skip(why, cursor, [_observed(seen.fingerprint)])
    if runs.last_read(instance, trained) == (now, True):
        back = [_newest(f"trained on the {files} that are there", passed=True)]
        events = back if cursor.given_up else []
        why = f"{files}, the same that the last training read"
        return _skip(why, replace(cursor, given_up=""), events)
    if busy := runs.under_way(instance, retrain.name):
        return _skip(f"{files} changed; run {busy.run_id[:8]} is under way", cursor)
    asked = runs.runs_since(instance, cursor, ASKED_TAG)
    read = [
        record
        for record in runs.runs_since(instance, cursor, READ_TAG)
        if record.dagster_run.job_name != validate.name
    ]
    no_use = runs.no_use(instance, read[0].dagster_run) if read else ""
    if not no_use and len(asked) >= retraining.attempts:
        no_use = (
            f"{count(len(asked), 'run has', 'runs have')} failed for these "
            "annotations, the last is "
            f"{asked[0].dagster_run.run_id[:8]}; find out why and start `retrain`"
        )
    if no_use:
        # What a person has chosen is no error.
        terminated = bool(read) and runs.was_terminated(read[0].dagster_run)
        events = [_newest(no_use, warn=terminated)] if cursor.given_up != now else []
        return _skip(no_use, replace(cursor, given_up=now), events)
    if wait := runs.wait_s(asked, retraining.first_wait_s):
        why = f"attempt {len(asked)} has failed; the next one is due in {wait:.0f} s"
        return _skip(why, cursor)
    wanted = retraining.min_new_rows if trained else 0
    new = seen.rows - int(trained.get("dataset_rows", 0)) if trained else seen.rows
    # A run that was asked for may have published its training before it failed.
    if wanted and not asked and new < wanted:
        return _skip(f"{count(new, 'new row')} of the {wanted} that are wanted", cursor)
    request = dg.RunRequest(
        run_key=runs.next_run_key(instance, now),
        run_config=retraining.run_config(),
        tags={READ_TAG: now, ASKED_TAG: now},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor.write())


@dg.sensor(
    minimum_interval_seconds=whole_number("JERSEY_TICK_S", 30),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone, after a power cut at its first tick, "
    "so that nothing waits for them.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = [run.run_id[:8] for run in end_lost_runs(context.instance)]
    for run_id in ended:
        context.log.warning(f"run {run_id} has lost its process: ended")
    return dg.SkipReason(f"ended: {', '.join(ended) or 'none'}")


@dg.run_failure_sensor(
    # Those of the command line too, which belong to no code location.
    monitor_all_code_locations=True,
    minimum_interval_seconds=whole_number("JERSEY_TICK_S", 30),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs each failed run, and posts it to the URL in "
    f"{alerts.WEBHOOK} where that is set.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    run = context.dagster_run
    message = context.failure_event.message or "no more is known"
    context.log.error(f"{run.job_name}: run {run.run_id} failed: {message}")
    try:
        posted = alerts.post(run.run_id, run.job_name, message)
    except alerts.AlertError as error:
        context.log.error(str(error))
    else:
        if posted:
            context.log.info("posted to the webhook")


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    monitor_all_code_locations=True,
    minimum_interval_seconds=whole_number("JERSEY_TICK_S", 30),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Shows again what the checks last said, which a terminated run hides.",
)
def terminated_runs(context: dg.RunStatusSensorContext) -> None:
    told = runs.tell_answers_again(context.instance, context.dagster_run.run_id)
    context.log.info(f"told again what {told} checks said before")


def _skip(
    why: str,
    cursor: Cursor,
    events: Sequence[dg.AssetObservation | dg.AssetCheckEvaluation] = (),
) -> dg.SensorResult:
    return dg.SensorResult(
        skip_reason=why, cursor=cursor.write(), asset_events=list(events)
    )


def _observed(found: "Fingerprint") -> dg.AssetObservation:
    return dg.AssetObservation(
        "annotation_files",
        tags={"dagster/data_version": found.digest},
        metadata=asdict(found),
    )


def _newest(
    why: str, *, passed: bool = False, warn: bool = False
) -> dg.AssetCheckEvaluation:
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckEvaluation(
        asset_key=runs.TRAINED,
        check_name=NEWEST,
        passed=passed,
        severity=severity,
        description=why,
    )
