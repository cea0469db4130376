"""Assets onnx_model, parity_report and int8_model, with their checks and pages."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from jersey_assets.graph.asset_io import AssetIO
from jersey_assets.graph.parts import (
    Page,
    answers,
    check_specs,
    pictures_of,
    plain_values,
    table_of,
)
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.graph.tags import OWNERS
from jersey_assets.labels.file import read_classes, read_labels
from jersey_assets.runs.timeouts import OP_HOURS, within
from jersey_assets.storage.code_version import code_version
from jersey_assets.storage.manifest import Artifact


@dg.asset(
    deps=["class_mapping", "trained_checkpoint"],
    code_version=code_version("export.onnx_model"),
    kinds={"onnx"},
    owners=OWNERS,
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

    io = AssetIO(context, artifacts)
    trained = io.read("trained_checkpoint")
    io.read("class_mapping")
    inherited = ("dataset_fingerprint", "recipe_hash", "code_version")
    provenance = Provenance(
        **{key: trained.manifest[key] for key in inherited}, run_id=context.run.run_id
    )

    def write(folder: Path) -> None:
        export_onnx(load_checkpoint(trained.file("model.ckpt")), folder, provenance)

    return io.publish(write, onnx_page)


def onnx_page(artifact: Artifact) -> Page:
    entry = artifact.manifest["files"]["model.onnx"]
    megabytes = round(entry["size"] / 1e6, 1)
    return {
        "headline": f"{megabytes} MB",
        "megabytes": megabytes,
        "sha256": entry["sha256"],
        "num_classes": len(read_classes(artifact.folder)),
    }


@dg.multi_asset_check(
    specs=check_specs(
        "onnx_model",
        {
            "graph_is_valid": "One complete, self-contained file that onnx.checker and "
            "onnxruntime accept, with one input and one output.",
            "output_is_logits": "The output `logits` holds unnormalised scores, one "
            "row per crop, one column per class.",
            "batch_axis_is_dynamic": "Every batch size runs and gives one row per "
            "crop.",
            "weights_match_checkpoint": "It gives the same answers as the checkpoint's "
            "averaged weights, and not those of other weights.",
            "labels_match_class_mapping": "Labels and their order agree in the file, "
            "beside it, in the checkpoint and in the class mapping.",
        },
    )
)
@within(OP_HOURS)
def onnx_checks(artifacts: Artifacts) -> Iterator[dg.AssetCheckResult]:
    from jersey_assets.export.contract.check import check_model
    from jersey_assets.training.checkpoint import load_checkpoint

    store = artifacts.store()
    made = store.require("onnx_model")
    weights = store.require("trained_checkpoint").file("model.ckpt")
    labels = read_labels(store.require("class_mapping").file("labels_mapping.json"))
    checkpoint = load_checkpoint(weights)
    found = check_model(made.file("model.onnx"), checkpoint, labels)
    yield from answers(store, made, found)


@dg.asset(
    deps=["validated_annotations", "class_mapping", "trained_checkpoint", "onnx_model"],
    code_version=code_version("export.parity"),
    kinds={"onnx", "pytorch", "matplotlib"},
    owners=OWNERS,
)
@within(OP_HOURS)
def parity_report(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """Compares onnxruntime with PyTorch on the same crops: how much the logits
    differ, whether the answers do, and whether a row depends on its batch.
    """
    import pandas as pd

    from jersey_assets.export.parity import write_parity
    from jersey_assets.training.checkpoint import load_checkpoint
    from jersey_assets.training.data.crops import evaluation_split, load_split

    root = dataset.open(artifacts).path
    io = AssetIO(context, artifacts)
    table = io.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(io.read("class_mapping").folder)
    weights = io.read("trained_checkpoint").file("model.ckpt")
    model = io.read("onnx_model").file("model.onnx")

    def write(folder: Path) -> None:
        rows, checkpoint = pd.read_parquet(table), load_checkpoint(weights)
        split, size = evaluation_split(rows), checkpoint.image_size
        crops = load_split(root, rows, split, mapping, size)
        write_parity(model, checkpoint, crops, folder)

    return io.publish(write, parity_page)


def parity_page(artifact: Artifact) -> Page:
    report = artifact.json("report.json")
    error = report["max_abs_error"]
    tables = ("per_batch_size", "per_optimization", "probes", "latency")
    return {
        "headline": "" if error is None else f"largest logit error {error:.3g}",
        **pictures_of(artifact),
        **plain_values(report),
        "page": dg.MetadataValue.path(f"{artifact.location}/report.html"),
        "disagreements": len(report["disagreements"]),
        "first_disagreements": table_of(report["disagreements"]),
        **{name: table_of(report[name]) for name in tables},
    }


@dg.multi_asset_check(
    specs=check_specs(
        "parity_report",
        {
            "logits_within_tolerance": "onnxruntime's logits equal PyTorch's, within "
            "the tolerance of float arithmetic.",
            "top1_agrees": "Both give the same answer for every crop, except for near "
            "ties.",
            "batch_independent": "A crop's logits do not depend on its batch.",
        },
    )
)
@within(OP_HOURS)
def parity_checks(artifacts: Artifacts) -> Iterator[dg.AssetCheckResult]:
    from jersey_assets.export.parity_checks import verdicts

    store = artifacts.store()
    made = store.require("parity_report")
    yield from answers(store, made, verdicts(made.json("report.json")))


@dg.asset(
    deps=["validated_annotations", "class_mapping", "onnx_model"],
    code_version=code_version("export.int8"),
    kinds={"onnx"},
    owners=OWNERS,
)
@within(OP_HOURS)
def int8_model(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> dg.MaterializeResult:
    """The model with 8-bit weights and activations, calibrated on train crops, and
    what that costs in accuracy and gains in speed. Nothing depends on it: deploy it
    instead of the released model if its checks pass and it is faster.
    """
    import pandas as pd

    from jersey_assets.export.int8 import calibration_rows, write_int8
    from jersey_assets.reader.predictor import Predictor
    from jersey_assets.training.data.crops import (
        evaluation_split,
        load_crops,
        load_split,
    )

    root = dataset.open(artifacts).path
    io = AssetIO(context, artifacts)
    table = io.read("validated_annotations").file("annotations.parquet")
    mapping = read_classes(io.read("class_mapping").folder)
    model = io.read("onnx_model").file("model.onnx")

    def write(folder: Path) -> None:
        rows, size = pd.read_parquet(table), Predictor(model).metadata.image_size
        calibration = load_crops(root, calibration_rows(rows), mapping, size)
        crops = load_split(root, rows, evaluation_split(rows), mapping, size)
        write_int8(model, calibration, crops, folder)

    return io.publish(write, int8_page)


def int8_page(artifact: Artifact) -> Page:
    report = artifact.json("report.json")
    return {
        "headline": f"top-1 {report['int8_top1']:.1%}",
        **plain_values(report),
        "latency": table_of(report["latency"]),
    }


@dg.multi_asset_check(
    specs=check_specs(
        "int8_model",
        {},
        {
            "int8_contract_holds": "It keeps the contract of `onnx_model`, except for "
            "NaN, and its weights have 8 bits.",
            "int8_close_to_float": "Rounding costs its logits at most 1 % of their "
            "energy.",
            "int8_accuracy_kept": "On the same crops it reads at most 1 % fewer than "
            "the float model does.",
        },
    )
)
@within(OP_HOURS)
def int8_checks(artifacts: Artifacts) -> Iterator[dg.AssetCheckResult]:
    from jersey_assets.export.int8 import verdicts

    store = artifacts.store()
    made = store.require("int8_model")
    labels = read_labels(store.require("class_mapping").file("labels_mapping.json"))
    found = verdicts(made.file("model.onnx"), made.json("report.json"), labels)
    yield from answers(store, made, found)
