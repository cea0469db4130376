"""The promises: what each asset's checks say, and which of them stop a run.

A room answers with verdicts; here they become Dagster's results. B = blocking: what
depends on the asset does not run, and the run ends with exit code 1.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from jersey_assets.graph.assets import GPU_TAGS
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.labels.file import read_classes, read_labels
from jersey_assets.runs.history import ANSWERED, last_read
from jersey_assets.runs.timeouts import OP_HOURS, within
from jersey_assets.storage.manifest import Artifact
from jersey_assets.text import readable
from jersey_assets.verdict import Verdict

# Also reported by the sensor, when it gives up.
NEWEST = "trained_on_newest_annotations"
DIGEST = "artifact_digest"
"""Metadata of a check's answer: digest of the artifact that it is about."""

_ANSWERS_LOOKED_AT = 20

CheckResults = Iterator[dg.AssetCheckResult]


def _specs(
    asset: str, blocking: dict[str, str], warning: dict[str, str] | None = None
) -> list[dg.AssetCheckSpec]:
    """Declares an asset's checks, name to description."""
    specs = [
        dg.AssetCheckSpec(name, asset=asset, blocking=True, description=text)
        for name, text in blocking.items()
    ]
    return specs + [
        dg.AssetCheckSpec(name, asset=asset, description=text)
        for name, text in (warning or {}).items()
    ]


def _results(judged: Artifact, verdicts: Iterable[Verdict]) -> CheckResults:
    """Turns verdicts into results; anything else would be green in silence.

    What was judged is named: Dagster takes an answer for one about the version that
    was materialized last, which may be another run's.
    """
    for verdict in verdicts:
        warn = verdict.severity == "warning"
        yield dg.AssetCheckResult(
            asset_key=judged.asset,
            check_name=verdict.name,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.WARN
            if warn
            else dg.AssetCheckSeverity.ERROR,
            description=readable(verdict.message),
            metadata={**verdict.facts, DIGEST: judged.digest},
        )


@dg.multi_asset_check(
    specs=_specs(
        "validated_annotations",
        {
            "rejected_rows_within_budget": "The share of rows set aside is within "
            "`rejected_budget` (or 5 rows), and every file could be read.",
            "no_conflicting_labels": "No more images than the budget allows are listed "
            "with two labels.",
            "labels_known_in_train": "No more valid and test rows than the budget "
            "allows have a label that train lacks.",
            "no_split_leakage": "No more crops than the budget allows are in two "
            "splits, pixel for pixel; near copies are told.",
            "every_split_has_rows": "train and valid have rows; test may be absent.",
        },
        {
            "enough_images_per_class": "Every label has enough crops to learn from.",
            "class_imbalance": "The most frequent label is not many times the rarest.",
        },
    )
)
@within(OP_HOURS)
def annotation_checks(dataset: Dataset, artifacts: Artifacts) -> CheckResults:
    from jersey_assets.annotations.checks import verdicts
    from jersey_assets.annotations.result import read_validation

    store = artifacts.store()
    kept = store.require("validated_annotations")
    validation = read_validation(
        kept.folder, store.require("rejected_annotations").folder
    )
    yield from _results(kept, verdicts(validation, dataset.rules()))


@dg.multi_asset_check(
    specs=_specs(
        "class_mapping",
        {
            "mapping_is_contiguous": "The class indices are 0, 1, 2, … without a gap.",
            "mapping_covers_train": "The labels are train's, no more and no fewer.",
        },
    )
)
@within(OP_HOURS)
def class_mapping_checks(artifacts: Artifacts) -> CheckResults:
    import pandas as pd

    from jersey_assets.labels.mapping import verdicts

    store = artifacts.store()
    made = store.require("class_mapping")
    mapping = read_classes(made.folder)
    table = store.require("validated_annotations").file("annotations.parquet")
    yield from _results(made, verdicts(mapping, pd.read_parquet(table)))


@dg.multi_asset_check(
    specs=_specs(
        "trained_checkpoint",
        {
            "weights_are_finite": "No weight is NaN or infinite.",
            "checkpoint_holds_ema_weights": "The stored weights score on valid what "
            "the averaged weights scored during training, and are not the raw ones.",
        },
        {
            "beats_majority_class": "Better than always answering the commonest label.",
            "curve_is_flat": "Valid top-1 hardly rose in the last quarter of the "
            "epochs: the training was long enough.",
            "no_class_is_left_behind": "Each label is read on valid at least half as "
            "often as labels are on average.",
            NEWEST: "The training read the annotations that lie there now. Fails where "
            "the sensor has given up on them; warns where a run was terminated.",
        },
    ),
    pool="gpu",
    op_tags=GPU_TAGS,
)
@within(OP_HOURS)
def checkpoint_checks(
    context: dg.AssetCheckExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> CheckResults:
    import pandas as pd

    from jersey_assets.annotations.disk.fingerprint import fingerprint
    from jersey_assets.training.checkpoint import load_checkpoint
    from jersey_assets.training.checks import verdicts
    from jersey_assets.training.data.crops import load_crops

    root, store = dataset.open(artifacts).path, artifacts.store()
    trained = store.require("trained_checkpoint")
    rows = pd.read_parquet(
        store.require("validated_annotations").file("annotations.parquet")
    )
    mapping = read_classes(store.require("class_mapping").folder)
    checkpoint = load_checkpoint(trained.file("model.ckpt"))
    valid = load_crops(
        root, rows[rows["split"] == "valid"], mapping, checkpoint.image_size
    )
    summary: dict[str, Any] = trained.json("training.json")
    yield from _results(trained, verdicts(checkpoint, summary, valid))
    read, _ = last_read(context.instance, trained.manifest)
    newest = read == fingerprint(root).digest
    message = "it did" if newest else "other annotations have landed since it began"
    yield from _results(trained, [Verdict(NEWEST, newest, message, "warning")])


@dg.multi_asset_check(
    specs=_specs(
        "onnx_model",
        {
            "graph_is_valid": "One whole, self-contained file that onnx.checker and "
            "onnxruntime accept, with one input and one output.",
            "output_is_logits": "The output `logits` holds unnormalised scores, one "
            "row a crop, one column a class.",
            "batch_axis_is_dynamic": "Any batch size runs, and gives one row a crop.",
            "weights_match_checkpoint": "It answers as the checkpoint's averaged "
            "weights do, and not as other weights.",
            "labels_match_class_mapping": "Labels and their order agree in the file, "
            "beside it, in the checkpoint and in the class mapping.",
        },
    )
)
@within(OP_HOURS)
def onnx_checks(artifacts: Artifacts) -> CheckResults:
    from jersey_assets.export.contract.check import check_model
    from jersey_assets.training.checkpoint import load_checkpoint

    store = artifacts.store()
    made = store.require("onnx_model")
    weights = store.require("trained_checkpoint").file("model.ckpt")
    labels = read_labels(store.require("class_mapping").file("labels_mapping.json"))
    checkpoint = load_checkpoint(weights)
    yield from _results(made, check_model(made.file("model.onnx"), checkpoint, labels))


@dg.multi_asset_check(
    specs=_specs(
        "parity_report",
        {
            "logits_within_tolerance": "onnxruntime's logits are PyTorch's, within "
            "the tolerance of float arithmetic.",
            "top1_agrees": "Both answer the same for every crop, near ties aside.",
            "batch_independent": "A crop's logits do not depend on its batch.",
        },
    )
)
@within(OP_HOURS)
def parity_checks(artifacts: Artifacts) -> CheckResults:
    from jersey_assets.export.parity_checks import verdicts

    made = artifacts.store().require("parity_report")
    yield from _results(made, verdicts(made.json("report.json")))


@dg.multi_asset_check(
    specs=_specs(
        "int8_model",
        {},
        {
            "int8_contract_holds": "It keeps the contract of `onnx_model`, NaN aside, "
            "and its weights do have 8 bits.",
            "int8_close_to_float": "Rounding costs its logits at most 1 % of their "
            "energy.",
            "int8_accuracy_kept": "On the same crops it reads no more than 1 % fewer "
            "than the float model does.",
        },
    )
)
@within(OP_HOURS)
def int8_checks(artifacts: Artifacts) -> CheckResults:
    from jersey_assets.export.int8 import verdicts

    store = artifacts.store()
    made = store.require("int8_model")
    labels = read_labels(store.require("class_mapping").file("labels_mapping.json"))
    found = verdicts(made.file("model.onnx"), made.json("report.json"), labels)
    yield from _results(made, found)


CHECKS = [
    annotation_checks,
    class_mapping_checks,
    checkpoint_checks,
    onnx_checks,
    parity_checks,
    int8_checks,
]


def unkept_promises(
    instance: dg.DagsterInstance, artifacts: Iterable[Artifact]
) -> list[str]:
    """Blocking checks that did not pass on these very artifacts.

    A blocking check stops its own run only: whoever materializes one asset after it,
    in a run of its own, goes round it.

    Args:
        instance: where the checks' answers are recorded.
        artifacts: what was, or was not, checked.

    Returns:
        a line each, with the asset, the check and what it said.
    """
    digests = {artifact.asset: artifact.digest for artifact in artifacts}
    blocking = [
        spec.key
        for check in CHECKS
        for spec in check.check_specs
        if spec.blocking and spec.asset_key.to_user_string() in digests
    ]
    answers = {
        key: _latest_answer(instance, key, digests[key.asset_key.to_user_string()])
        for key in blocking
    }
    return [
        f"{key.name} of {key.asset_key.to_user_string()} {answer}"
        for key, answer in answers.items()
        if answer
    ]


def _latest_answer(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey, digest: str
) -> str:
    """What is wrong with a check's latest answer about an artifact, if anything."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=_ANSWERS_LOOKED_AT, status=set(ANSWERED)
    )
    for record in records:
        found = record.event.asset_check_evaluation if record.event else None
        if found is None:
            continue
        judged = found.metadata.get(DIGEST)
        # Another run may have asked about another version meanwhile.
        if judged is not None and judged.value == digest:
            stops = not found.passed and found.severity is dg.AssetCheckSeverity.ERROR
            return f"failed: {found.description}" if stops else ""
    return "has not run on this version"
