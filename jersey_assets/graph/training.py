"""Assets trained_checkpoint and evaluation_report, with their checks and pages."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from jersey_assets.graph.asset_io import AssetIO
from jersey_assets.graph.config import Settings
from jersey_assets.graph.parts import (
    Page,
    answers,
    check_specs,
    pictures_of,
    table_of,
)
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.graph.tags import GPU_POOL, GPU_TAGS, OWNERS
from jersey_assets.labels.file import read_classes
from jersey_assets.runs.history import last_read
from jersey_assets.runs.timeouts import OP_HOURS, TRAINING_HOURS, within
from jersey_assets.storage.code_version import code_version
from jersey_assets.storage.manifest import Artifact
from jersey_assets.text import count
from jersey_assets.training.recipe import Recipe
from jersey_assets.verdict import Verdict

if TYPE_CHECKING:
    from jersey_assets.training.epochs import Epoch

# A training is saved before it is stopped, and the next run resumes it.
RETRIES, RETRY_PAUSE_S = 2, 30

# Also reported by the sensor, when it gives up.
NEWEST = "trained_on_newest_annotations"


@dg.asset(
    deps=[
        "validated_annotations",
        "class_mapping",
        "dataset_statistics",
        "rendered_crops",
    ],
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
    config_schema=Settings(Recipe),
    code_version=code_version("training.fit_or_resume"),
    kinds={"gpu", "pytorch", "pytorchlightning"},
    owners=OWNERS,
)
@within(TRAINING_HOURS)
def trained_checkpoint(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """The averaged (EMA) weights of the epoch with the best valid top-1.

    Trained by the recipe in this op's config, on a GPU if there is one. Each
    artifact root runs one training at a time; a second one waits. A training that
    was stopped resumes in the next run with the same recipe and data; after a fault
    of the machine (a full disk, a lost GPU) it resumes in the same run.
    """
    from jersey_assets.training.fit_or_resume import (
        TrainingInputs,
        fit_or_resume,
        one_training,
    )
    from jersey_assets.training.network.pretrained import FOLDER, pretrained

    io = AssetIO(context, artifacts)
    recipe = Recipe.model_validate(context.op_execution_context.op_config)
    inputs = TrainingInputs(
        recipe,
        pretrained(recipe, partial(io.store.supplied, FOLDER)),
        dataset.open(artifacts).path,
        annotations=io.read("validated_annotations").file("annotations.parquet"),
        drawn=io.read("rendered_crops").file("crops.parquet"),
        mapping=read_classes(io.read("class_mapping").folder),
        statistics=io.read("dataset_statistics").json("statistics.json"),
    )
    scratch = io.store.scratch()
    with one_training(scratch, context.run.run_id), _ending_as_dagster_expects(context):
        return io.publish(
            partial(fit_or_resume, inputs, scratch, partial(_report, context)),
            checkpoint_page,
            inputs.settings,
            recipe_hash=inputs.recipe_hash,
        )


@contextmanager
def _ending_as_dagster_expects(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Turns an early end of a training into Dagster's cancellation or retry."""
    from jersey_assets.training.errors import Interrupted, would_fail_again

    try:
        yield
    except Interrupted as interrupted:
        context.log.warning(str(interrupted))
        # What Dagster itself raises for the signal, so that the run is canceled.
        raise dg.DagsterExecutionInterruptedError from interrupted
    except Exception as error:
        if would_fail_again(error):
            raise
        context.log.warning(
            f"the training stopped ({error}); it resumes in {RETRY_PAUSE_S} s"
        )
        # A retry policy would also restart a run that a person has terminated.
        raise dg.RetryRequested(RETRIES, RETRY_PAUSE_S) from error


def _report(context: dg.AssetExecutionContext, epoch: "Epoch", epochs: int) -> None:
    context.log.info(epoch.line(epochs))
    # One observation per epoch draws the curve in the UI while training runs.
    context.log_event(dg.AssetObservation(context.asset_key, metadata=asdict(epoch)))


def checkpoint_page(artifact: Artifact) -> Page:
    training = artifact.json("training.json")
    shown_apart = {"recipe", "kept", "layers", "draws"}
    size = artifact.manifest["files"]["model.ckpt"]["size"]
    return {
        "headline": f"valid top-1 {training['valid_top1']:.1%}, "
        f"{count(training['epochs'], 'epoch')}, {training['seconds']:.0f} s",
        **pictures_of(artifact),
        **{k: v for k, v in training.items() if k not in shown_apart},
        "kept": table_of(training["kept"]),
        "layers": table_of(training["layers"]),
        "checkpoint_megabytes": round(size / 1e6, 1),
        "draws": table_of(
            {"label": json.dumps(label), "crops shown in training": number}
            for label, number in training["draws"].items()
        ),
        "recipe": dg.MetadataValue.json(training["recipe"]),
    }


@dg.multi_asset_check(
    specs=check_specs(
        "trained_checkpoint",
        {
            "weights_are_finite": "No weight is NaN or infinite.",
            "checkpoint_holds_ema_weights": "The stored weights score on valid what "
            "the averaged weights scored during training, and are not the raw ones.",
        },
        {
            "beats_majority_class": "Valid top-1 is better than always answering the "
            "most common label.",
            "curve_is_flat": "Valid top-1 hardly rose in the last quarter of the "
            "epochs: the training was long enough.",
            "no_class_is_left_behind": "The valid accuracy of each label is at least "
            "half the average over labels.",
            NEWEST: "The training read the annotations that are in the dataset now. "
            "Fails if the sensor has given up on them; warns if a run was terminated.",
        },
    ),
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
)
@within(OP_HOURS)
def checkpoint_checks(
    context: dg.AssetCheckExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> Iterator[dg.AssetCheckResult]:
    import pandas as pd

    from jersey_assets.annotations.disk.fingerprint import fingerprint
    from jersey_assets.training.checkpoint import load_checkpoint
    from jersey_assets.training.checks import verdicts
    from jersey_assets.training.data.crops import load_split

    root, store = dataset.open(artifacts).path, artifacts.store()
    trained = store.require("trained_checkpoint")
    table = store.require("validated_annotations").file("annotations.parquet")
    mapping = read_classes(store.require("class_mapping").folder)
    checkpoint = load_checkpoint(trained.file("model.ckpt"))
    rows = pd.read_parquet(table)
    valid = load_split(root, rows, "valid", mapping, checkpoint.image_size)
    summary: dict[str, Any] = trained.json("training.json")
    read, _ = last_read(context.instance, trained.manifest)
    newest = read == fingerprint(root).digest
    message = (
        "the training read the annotations that are in the dataset now"
        if newest
        else "the annotations have changed since the training read them"
    )
    found = [
        *verdicts(checkpoint, summary, valid),
        Verdict(NEWEST, newest, message, "warning"),
    ]
    yield from answers(store, trained, found)


@dg.asset(
    deps=["validated_annotations", "class_mapping", "trained_checkpoint"],
    pool=GPU_POOL,
    op_tags=GPU_TAGS,
    code_version=code_version("training.evaluation"),
    kinds={"pytorch", "matplotlib"},
    owners=OWNERS,
)
@within(OP_HOURS)
def evaluation_report(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Evaluates the averaged weights on the test split (valid if there is none):
    accuracy per class, confusion matrix, sample predictions, where the model looked
    (Grad-CAM), every mistake.
    """
    import pandas as pd

    from jersey_assets.training.checkpoint import load_checkpoint
    from jersey_assets.training.data.crops import evaluation_split, load_split
    from jersey_assets.training.evaluation import evaluate, write_evaluation

    root = dataset.open(artifacts).path
    io = AssetIO(context, artifacts)
    table = io.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(io.read("class_mapping").folder)
    weights = io.read("trained_checkpoint").file("model.ckpt")

    def write(folder: Path) -> None:
        rows, checkpoint = pd.read_parquet(table), load_checkpoint(weights)
        split = evaluation_split(rows)
        crops = load_split(root, rows, split, mapping, checkpoint.image_size)
        evaluation = evaluate(checkpoint, split, crops)
        write_evaluation(evaluation, checkpoint, crops, folder)

    return io.publish(write, evaluation_page)


def evaluation_page(artifact: Artifact) -> Page:
    report = artifact.json("report.json")
    shown = ("split", "images", "top1", "top5", "loss", "num_classes", "ema_step")
    return {
        "headline": f"top-1 {report['top1']:.1%}, {count(report['images'], 'crop')}, "
        f"split {report['split']}",
        **pictures_of(artifact),
        **{key: report[key] for key in shown},
        "accuracy_by_label": table_of(
            {"label": json.dumps(label), **entry}
            for label, entry in report["per_class"].items()
        ),
        "mistakes": table_of(
            row | {"label": json.dumps(row["label"])} for row in report["mistakes"]
        ),
    }
