"""The graph: annotations → labels → training → export → release.

Each asset reads its inputs from the store, calls one room, publishes what the room
made and reports it. Where nothing that decides an artifact has changed, the stored
one stays and the room is not called. An asset's docstring is what the UI shows.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from jersey_assets.graph.asset_io import Desk, materialized, observe_input
from jersey_assets.graph.config import Settings
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.labels.file import read_classes, write_labels
from jersey_assets.labels.filling import Filling
from jersey_assets.runs.timeouts import OP_HOURS, TRAINING_HOURS, within
from jersey_assets.storage.code_version import code_version
from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.store import canonical_json
from jersey_assets.training.recipe import Recipe

if TYPE_CHECKING:
    from jersey_assets.training.callbacks.history import Epoch

# One group: with more, the lineage page opens collapsed.
GROUP = "jersey_numbers"

# A training is saved before it ends, and the next run goes on with it.
RETRIES, RETRY_PAUSE_S = 2, 30

# Only Dagster's Kubernetes launcher and executor read this; a laptop ignores it.
GPU_TAGS = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    }
}


@dg.observable_source_asset(group_name=GROUP)
def annotation_files(dataset: Dataset, artifacts: Artifacts) -> dg.ObserveResult:
    """The JSONL files below the dataset root, as people put them there.

    Nothing here writes them. Observing takes one fingerprint over their names and
    contents; a new fingerprint is what makes the sensor ask for a retraining.
    """
    from jersey_assets.annotations.disk.files import fingerprint

    opened = dataset.open(artifacts)
    found = fingerprint(opened.path)
    return dg.ObserveResult(
        data_version=dg.DataVersion(found.digest),
        metadata={"root": dg.MetadataValue.path(opened.root), **asdict(found)},
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "validated_annotations",
            deps=[annotation_files],
            description="The table of annotations that hold, one row each: label, "
            "split, image, its size and hashes. Every later asset reads crops by this "
            "table and nothing else. Rows that do not hold are in "
            "`rejected_annotations`; the checks say whether there are too many.",
            group_name=GROUP,
            code_version=code_version("annotations.validate"),
            kinds={"pandera", "parquet"},
        ),
        dg.AssetSpec(
            "rejected_annotations",
            deps=[annotation_files],
            description="Every annotation that was set aside, with file, line, field, "
            "value, reason and what to do about it. Nothing is dropped or repaired in "
            "silence: rows read = kept + set aside + merged duplicates.",
            group_name=GROUP,
            code_version=code_version("annotations.validate"),
            kinds={"parquet"},
        ),
    ]
)
@within(OP_HOURS)
def annotations(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> Iterator[dg.MaterializeResult]:
    """Reads and judges every annotation and every crop once."""
    import pandas as pd

    from jersey_assets.annotations.images.contact_sheet import write_contact_sheet
    from jersey_assets.annotations.validate import validate
    from jersey_assets.storage.owner import claim

    opened = dataset.open(artifacts)
    root, rules = opened.path, dataset.rules()
    cache = artifacts.store().cache_file("crops.parquet")
    found = validate(root, rules, context.log.info, cache)
    fingerprint = found.summary["fingerprint"]
    observe_input(context, annotation_files.key, fingerprint)
    if found.summary["kept"]:  # a folder named by mistake holds nothing
        claim(artifacts.store(), opened)

    def write_validated(folder: Path) -> None:
        found.write_validated(folder)
        findings = pd.concat([found.rejected, found.warnings])
        sheet = folder / "contact_sheet.png"
        write_contact_sheet(root, findings, found.validated, rules, sheet)

    def write_rejected(folder: Path) -> None:
        found.write_rejected(folder)
        sheet = folder / "contact_sheet.png"
        write_contact_sheet(root, found.rejected, found.validated, rules, sheet)

    for asset, make in (
        ("validated_annotations", write_validated),
        ("rejected_annotations", write_rejected),
    ):
        yield Desk(context, artifacts).publish(
            asset,
            make,
            settings={"content": found.digest},
            dataset=opened.name,
            dataset_fingerprint=fingerprint,
            dataset_rows=str(found.summary["rows"]),
        )


@dg.asset(
    deps=["validated_annotations"],
    group_name=GROUP,
    code_version=code_version("labels.mapping", "labels.file"),
    kinds={"json"},
)
@within(OP_HOURS)
def class_mapping(
    context: dg.AssetExecutionContext, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Label → class index: the labels of the train split, sorted as strings.

    Where "" (no readable number) is a label, it is class 0. The mapping travels
    with the checkpoint, inside the ONNX file and beside it.
    """
    import pandas as pd

    from jersey_assets.labels.mapping import class_mapping

    desk = Desk(context, artifacts)
    table = desk.read("validated_annotations").file("annotations.parquet")

    def make(folder: Path) -> None:
        write_labels(list(class_mapping(pd.read_parquet(table))), folder)

    return desk.publish("class_mapping", make)


@dg.asset(
    deps=["validated_annotations"],
    group_name=GROUP,
    code_version=code_version("labels.statistics"),
    kinds={"json", "matplotlib"},
)
@within(OP_HOURS)
def dataset_statistics(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """What the network will see: counts per class and split, imbalance, crop sizes,
    channel mean and deviation (the normalization), metadata distributions.
    """
    import pandas as pd

    from jersey_assets.labels.statistics import dataset_statistics, write_statistics

    root = dataset.open(artifacts).path
    desk = Desk(context, artifacts)
    table = desk.read("validated_annotations").file("annotations.parquet")

    def make(folder: Path) -> None:
        rows = pd.read_parquet(table)
        write_statistics(dataset_statistics(root, rows), rows, folder)

    return desk.publish("dataset_statistics", make)


@dg.asset(
    deps=["validated_annotations", "class_mapping"],
    config_schema=Settings(Filling),
    group_name=GROUP,
    code_version=code_version("labels.filling"),
    kinds={"pillow", "parquet"},
)
@within(OP_HOURS)
def rendered_crops(
    context: dg.AssetExecutionContext, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Drawn crops for labels that train shows too seldom: none unless `fill_to` asks.

    Training adds them to the train split; no other split ever sees one.
    """
    import pandas as pd

    from jersey_assets.labels.filling import draw_missing, write_drawn

    filling = Filling.model_validate(context.op_execution_context.op_config)
    desk = Desk(context, artifacts)
    table = desk.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(desk.read("class_mapping").folder)

    def make(folder: Path) -> None:
        rows = pd.read_parquet(table, columns=["split", "label"])
        counts = rows.loc[rows["split"] == "train", "label"].value_counts()
        wanted = {label: int(counts[label]) for label in mapping}
        write_drawn(draw_missing(filling, wanted, context.log.info), folder)

    return desk.publish("rendered_crops", make, filling.model_dump())


@dg.asset(
    deps=[
        "validated_annotations",
        "class_mapping",
        "dataset_statistics",
        "rendered_crops",
    ],
    pool="gpu",
    op_tags=GPU_TAGS,
    config_schema=Settings(Recipe),
    group_name=GROUP,
    code_version=code_version("training.fit"),
    kinds={"gpu", "pytorch", "lightning"},
)
@within(TRAINING_HOURS)
def trained_checkpoint(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """The averaged (EMA) weights of the epoch that read valid best.

    Trained by the recipe in this op's config, on a GPU where there is one. One
    training at a time in an artifact root; a second one waits. A training that was
    stopped goes on where it was, in the next run with the same recipe and data; after
    a fault of the machine (a full disk, a lost GPU) in the same run.
    """
    import pandas as pd

    from jersey_assets.training.data.crops import load_crops, load_drawn, natural_size
    from jersey_assets.training.errors import Interrupted, TrainingError
    from jersey_assets.training.fit import fit
    from jersey_assets.training.network.pretrained import FOLDER, pretrained
    from jersey_assets.training.resume import remove_finished

    root = dataset.open(artifacts).path
    recipe = Recipe.model_validate(context.op_execution_context.op_config)
    desk = Desk(context, artifacts)
    table = desk.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(desk.read("class_mapping").folder)
    statistics = desk.read("dataset_statistics").json("statistics.json")
    drawn = desk.read("rendered_crops").file("crops.parquet")

    def report(epoch: "Epoch", epochs: int) -> None:
        context.log.info(epoch.line(epochs))
        # One observation an epoch draws the curve in the UI while training runs.
        context.log_event(
            dg.AssetObservation(context.asset_key, metadata=asdict(epoch))
        )

    def make(folder: Path) -> None:
        rows = pd.read_parquet(table)
        shown, judged = (rows[rows["split"] == split] for split in ("train", "valid"))
        size = recipe.image_size or natural_size(shown)
        train = load_crops(root, shown, mapping, size)
        train += load_drawn(pd.read_parquet(drawn), mapping, size)
        valid = load_crops(root, judged, mapping, size)
        labels = list(mapping)
        made = fit(
            recipe, labels, train, valid, statistics, report, work, weights, logs
        )
        made.write(folder)

    settings = recipe.model_dump(mode="json")
    weights = pretrained(recipe, partial(desk.store.supplied, FOLDER))
    if weights:
        settings["weights_sha256"] = weights.digest()
    recipe_hash = hashlib.sha256(canonical_json(settings)).hexdigest()[:12]
    work, logs = (desk.store.scratch() / name for name in ("training", "logs"))
    with one_at_a_time(work.with_suffix(".lock"), context.run.run_id):
        try:
            result = desk.publish(
                "trained_checkpoint",
                make,
                settings,
                recipe_hash=recipe_hash,
            )
        except Interrupted as interrupted:
            context.log.warning(str(interrupted))
            # What Dagster itself raises for the signal, so that the run is canceled.
            raise dg.DagsterExecutionInterruptedError from interrupted
        except (TrainingError, ValueError):
            raise  # wrong data or a wrong recipe: the next time would be like this one
        except Exception as error:
            context.log.warning(f"goes on where it was, after a pause: {error}")
            # A retry policy would also start again what a person has terminated.
            raise dg.RetryRequested(RETRIES, RETRY_PAUSE_S) from error
        remove_finished(work)
    return result


@dg.asset(
    deps=["validated_annotations", "class_mapping", "trained_checkpoint"],
    pool="gpu",
    op_tags=GPU_TAGS,
    group_name=GROUP,
    code_version=code_version("training.evaluation"),
    kinds={"pytorch", "matplotlib"},
)
@within(OP_HOURS)
def evaluation_report(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """What the averaged weights read on the test split (valid where there is none):
    accuracy per class, confusion matrix, sample predictions, where it looked
    (Grad-CAM), every mistake.
    """
    import pandas as pd

    from jersey_assets.training.checkpoint import load_checkpoint
    from jersey_assets.training.data.crops import evaluation_split, load_crops
    from jersey_assets.training.evaluation import evaluate, write_evaluation

    root = dataset.open(artifacts).path
    desk = Desk(context, artifacts)
    table = desk.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(desk.read("class_mapping").folder)
    weights = desk.read("trained_checkpoint").file("model.ckpt")

    def make(folder: Path) -> None:
        rows = pd.read_parquet(table)
        split = evaluation_split(rows)
        checkpoint = load_checkpoint(weights)
        rows = rows[rows["split"] == split]
        crops = load_crops(root, rows, mapping, checkpoint.image_size)
        evaluation = evaluate(checkpoint, split, crops)
        write_evaluation(evaluation, checkpoint, crops, folder)

    return desk.publish("evaluation_report", make)


@dg.asset(
    deps=["class_mapping", "trained_checkpoint"],
    group_name=GROUP,
    code_version=code_version("export.onnx_model"),
    kinds={"onnx"},
)
@within(OP_HOURS)
def onnx_model(
    context: dg.AssetExecutionContext, artifacts: Artifacts
) -> dg.MaterializeResult:
    """The averaged weights as one self-contained ONNX file: `input` float32
    [batch, 3, H, W] → `logits` float32 [batch, classes], any batch size, with
    labels, normalization and provenance in its metadata.
    """
    from jersey_assets.export.file_metadata import Provenance
    from jersey_assets.export.onnx_model import export_onnx
    from jersey_assets.training.checkpoint import load_checkpoint

    desk = Desk(context, artifacts)
    trained = desk.read("trained_checkpoint")
    desk.read("class_mapping")
    inherited = ("dataset_fingerprint", "recipe_hash", "code_version")
    provenance = Provenance(
        **{key: trained.manifest[key] for key in inherited}, run_id=context.run.run_id
    )
    return desk.publish(
        "onnx_model",
        lambda folder: export_onnx(
            load_checkpoint(trained.file("model.ckpt")), folder, provenance
        ),
    )


@dg.asset(
    deps=["validated_annotations", "class_mapping", "trained_checkpoint", "onnx_model"],
    group_name=GROUP,
    code_version=code_version("export.parity"),
    kinds={"onnxruntime", "matplotlib"},
)
@within(OP_HOURS)
def parity_report(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Onnxruntime against PyTorch on the same crops: how far the logits differ,
    whether the answers do, and whether a row depends on its batch.
    """
    import pandas as pd

    from jersey_assets.export.parity import write_parity
    from jersey_assets.training.checkpoint import load_checkpoint
    from jersey_assets.training.data.crops import evaluation_split, load_crops

    root = dataset.open(artifacts).path
    desk = Desk(context, artifacts)
    table = desk.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(desk.read("class_mapping").folder)
    weights = desk.read("trained_checkpoint").file("model.ckpt")
    model = desk.read("onnx_model").file("model.onnx")

    def make(folder: Path) -> None:
        rows = pd.read_parquet(table)
        rows = rows[rows["split"] == evaluation_split(rows)]
        checkpoint = load_checkpoint(weights)
        crops = load_crops(root, rows, mapping, checkpoint.image_size)
        write_parity(model, checkpoint, crops, folder)

    return desk.publish("parity_report", make)


@dg.asset(
    deps=["validated_annotations", "class_mapping", "onnx_model"],
    group_name=GROUP,
    code_version=code_version("export.int8"),
    kinds={"onnx"},
)
@within(OP_HOURS)
def int8_model(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """The model with 8-bit weights and activations, calibrated on train crops, and
    what that costs in accuracy and gains in speed. Nothing depends on it: deploy it
    instead of the released model where its checks hold and it is faster.
    """
    import pandas as pd

    from jersey_assets.export.int8 import CALIBRATION_CROPS, write_int8
    from jersey_assets.reader.predictor import Predictor
    from jersey_assets.training.data.crops import evaluation_split, load_crops

    root = dataset.open(artifacts).path
    desk = Desk(context, artifacts)
    table = desk.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(desk.read("class_mapping").folder)
    model = desk.read("onnx_model").file("model.onnx")

    def make(folder: Path) -> None:
        rows = pd.read_parquet(table)
        train = rows[rows["split"] == "train"]
        train = train.sample(min(len(train), CALIBRATION_CROPS), random_state=0)
        size = Predictor(model).metadata.image_size
        calibration, crops = (
            load_crops(root, part, mapping, size)
            for part in (train, rows[rows["split"] == evaluation_split(rows)])
        )
        write_int8(model, calibration, crops, folder)

    return desk.publish("int8_model", make)


@dg.asset(
    deps=[
        "validated_annotations",
        "class_mapping",
        "trained_checkpoint",
        "evaluation_report",
        "onnx_model",
        "parity_report",
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "better_than_one_answer",
            asset="released_model",
            blocking=True,
            description="On 20 evaluation crops or more, the model reads significantly "
            "more of them than always giving the commonest label would.",
        ),
        dg.AssetCheckSpec(
            "not_worse_than_current",
            asset="released_model",
            description="The new model reads the evaluation crops no worse than the "
            "current release, beyond sampling noise; otherwise the current one stays.",
        ),
    ],
    group_name=GROUP,
    code_version=code_version("release.bundle"),
    kinds={"onnx", "markdown"},
)
@within(OP_HOURS)
def released_model(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """The bundle that people deploy: `model.onnx`, `labels_mapping.json`, the reports
    and a model card. Published only when provenance and parity hold, the model reads
    more than always giving one answer would, and it is not worse than the current
    release on the same crops; otherwise that one stays, and `decision` says why.
    """
    from jersey_assets.graph.checks import unkept_promises
    from jersey_assets.release.bundle import Candidate, write_bundle
    from jersey_assets.release.gate import ReleaseError, decision, judge
    from jersey_assets.release.releases import (
        one_release_at_a_time,
        standing_release,
    )

    root = dataset.open(artifacts).path
    desk = Desk(context, artifacts)
    candidate = Candidate(
        annotations=desk.read("validated_annotations"),
        class_mapping=desk.read("class_mapping"),
        checkpoint=desk.read("trained_checkpoint"),
        evaluation=desk.read("evaluation_report"),
        onnx_model=desk.read("onnx_model"),
        parity=desk.read("parity_report"),
    )
    if unkept := unkept_promises(context.instance, candidate.parts()):
        raise ReleaseError(
            f"not released: {'; '.join(unkept)}; materialize the whole chain again"
        )
    with one_release_at_a_time(desk.store, context.run.run_id):
        before = standing_release(desk.store)
        verdicts = judge(candidate, before, desk.store, root)
        answers = [
            dg.AssetCheckResult(
                check_name=verdict.name,
                passed=verdict.passed,
                description=verdict.message,
                metadata=dict(verdict.facts),
            )
            for verdict in verdicts
        ]
        after = before
        if all(verdict.passed for verdict in verdicts):
            after = desk.store_artifact(
                "released_model",
                lambda folder: write_bundle(candidate, folder),
            )
    decided = decision(verdicts, before, after)
    context.log.info(decided)
    yield from answers
    if after is None or not verdicts[0].passed:
        raise ReleaseError(decided)
    shown = materialized(after, reused=after == before)
    release = {"release": decided.partition(": ")[0], "decision": decided}
    yield shown._replace(metadata={**release, **(shown.metadata or {})})


ASSETS: list[dg.AssetsDefinition | dg.SourceAsset] = [
    annotation_files,
    annotations,
    class_mapping,
    dataset_statistics,
    rendered_crops,
    trained_checkpoint,
    evaluation_report,
    onnx_model,
    parity_report,
    int8_model,
    released_model,
]
