"""The sensors: new_annotations, lost_runs, failed_runs and terminated_runs."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from jersey_assets.graph.resources import Artifacts, Dataset, Retraining, whole_number
from jersey_assets.graph.training import NEWEST
from jersey_assets.operations import alerts
from jersey_assets.operations.decide import Answer, Cursor, Policy, Skip, decide
from jersey_assets.operations.history import RunHistory
from jersey_assets.operations.jobs import retrain
from jersey_assets.runs.history import ASKED_TAG, READ_TAG, TRAINED, tell_answers_again
from jersey_assets.runs.liveness import end_lost_runs
from jersey_assets.storage.errors import StorageError, UnreadableError

if TYPE_CHECKING:
    from jersey_assets.annotations.disk.watch import Seen

TICK_S = whole_number("JERSEY_TICK_S", 30)


@dg.sensor(
    job=retrain,
    minimum_interval_seconds=TICK_S,
    description="Requests `retrain` when the JSONL files are not those that the last "
    "training read, were the same two ticks in a row, and no training is under way. "
    "After a failed run it requests another, after growing waits; if that is useless, "
    f"the check `{NEWEST}` of `trained_checkpoint` fails and says why.",
)
def new_annotations(
    context: dg.SensorEvaluationContext,
    dataset: Dataset,
    artifacts: Artifacts,
    retraining: Retraining,
) -> dg.SensorResult | dg.SkipReason:
    from jersey_assets.annotations.disk.errors import AnnotationError
    from jersey_assets.annotations.disk.watch import NotSeenError
    from jersey_assets.storage.mirror import MirrorError

    try:
        seen = _look(dataset, artifacts)
        trained = _trained(context, artifacts)
    except (AnnotationError, MirrorError, NotSeenError, StorageError) as error:
        return dg.SkipReason(str(error))
    history, cursor = RunHistory(context.instance, trained), Cursor.read(context.cursor)
    rows = int(trained.get("dataset_rows", 0)) if trained else None
    policy = Policy(
        retraining.attempts, retraining.first_wait_s, retraining.min_new_rows
    )
    decided = decide(seen, rows, history, time.time(), cursor, policy)
    if isinstance(decided, Skip):
        return _skipped(decided, seen)
    digest = seen.fingerprint.digest
    request = dg.RunRequest(
        run_key=history.next_run_key(digest),
        run_config=retraining.run_config(),
        tags={READ_TAG: digest, ASKED_TAG: digest},
    )
    return dg.SensorResult(run_requests=[request], cursor=decided.cursor.write())


@dg.sensor(
    minimum_interval_seconds=TICK_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone, so that nothing waits for them; "
    "after a power cut, at its first tick.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = [run.run_id[:8] for run in end_lost_runs(context.instance)]
    for run_id in ended:
        context.log.warning(f"run {run_id} has lost its process and was ended")
    return dg.SkipReason(f"ended: {', '.join(ended) or 'none'}")


@dg.run_failure_sensor(
    # Runs of the command line belong to no code location.
    monitor_all_code_locations=True,
    minimum_interval_seconds=TICK_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Logs each failed run, and posts it to the URL in "
    f"{alerts.WEBHOOK} if that is set.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    run = context.dagster_run
    message = context.failure_event.message or "the reason is unknown"
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
    minimum_interval_seconds=TICK_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports the checks' last answers again, which a terminated run hides.",
)
def terminated_runs(context: dg.RunStatusSensorContext) -> None:
    told = tell_answers_again(context.instance, context.dagster_run.run_id)
    context.log.info(f"reported the last answers of {told} checks again")


def _look(dataset: Dataset, artifacts: Artifacts) -> "Seen":
    """The annotations now in the dataset that the artifact root belongs to."""
    from jersey_assets.annotations.disk.errors import AnnotationError
    from jersey_assets.annotations.disk.watch import watch
    from jersey_assets.storage.owner import refuse_other

    used = dataset.used_with(artifacts)
    # Training on another dataset would replace the models of this one.
    refuse_other(artifacts.store(), used)
    seen = watch(used.path, used.mirror).look()
    if not seen.fingerprint.files:
        raise AnnotationError(f"there are no annotation files in {used.root}")
    return seen


def _trained(
    context: dg.SensorEvaluationContext, artifacts: Artifacts
) -> Mapping[str, Any] | None:
    """Manifest of the published training, if there is an intact one.

    Raises:
        UnreadableError: the store cannot be read now.
    """
    try:
        return artifacts.store().manifest("trained_checkpoint")
    except UnreadableError:
        raise
    except StorageError as error:
        context.log.warning(f"ignoring a damaged training: {error}")
        return None


def _skipped(decided: Skip, seen: "Seen") -> dg.SensorResult:
    events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = []
    if decided.new:
        events.append(
            dg.AssetObservation(
                "annotation_files",
                tags={"dagster/data_version": seen.fingerprint.digest},
                metadata=asdict(seen.fingerprint),
            )
        )
    if decided.answer is not None:
        events.append(_evaluation(decided.answer))
    return dg.SensorResult(
        skip_reason=decided.why, cursor=decided.cursor.write(), asset_events=events
    )


def _evaluation(answer: Answer) -> dg.AssetCheckEvaluation:
    severity = dg.AssetCheckSeverity
    return dg.AssetCheckEvaluation(
        asset_key=TRAINED,
        check_name=NEWEST,
        passed=answer.passed,
        severity=severity.WARN if answer.warning else severity.ERROR,
        description=answer.message,
    )
