"""Asset released_model: the bundle to deploy, with its two checks and its page."""

from collections.abc import Iterator

import dagster as dg

from jersey_assets.graph.asset_io import AssetIO
from jersey_assets.graph.parts import Page, answer, check_specs
from jersey_assets.graph.resources import Artifacts, Dataset
from jersey_assets.graph.tags import OWNERS
from jersey_assets.runs.timeouts import OP_HOURS, within
from jersey_assets.storage.code_version import code_version
from jersey_assets.storage.manifest import Artifact
from jersey_assets.text import readable


@dg.asset(
    deps=[
        "validated_annotations",
        "class_mapping",
        "trained_checkpoint",
        "evaluation_report",
        "onnx_model",
        "parity_report",
    ],
    check_specs=check_specs(
        "released_model",
        {
            "better_than_one_answer": "On 20 evaluation crops or more, the model reads "
            "significantly more of them than always giving the most common label would."
        },
        {
            "not_worse_than_current": "The new model reads the evaluation crops no "
            "worse than the current release, beyond sampling noise; otherwise the "
            "current one is kept.",
        },
    ),
    code_version=code_version("release.bundle"),
    kinds={"onnx"},
    owners=OWNERS,
)
@within(OP_HOURS)
def released_model(
    context: dg.AssetExecutionContext, dataset: Dataset, artifacts: Artifacts
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """The bundle that people deploy: `model.onnx`, `labels_mapping.json`, the reports
    and a model card. Published only if provenance and parity hold, the model reads
    more than always giving one answer would, and it is not worse than the current
    release on the same crops; otherwise that one is kept, and `decision` says why.
    """
    from jersey_assets.release.bundle import Candidate
    from jersey_assets.release.publish import publish_or_keep

    io = AssetIO(context, artifacts)
    candidate = Candidate(
        annotations=io.read("validated_annotations"),
        class_mapping=io.read("class_mapping"),
        checkpoint=io.read("trained_checkpoint"),
        evaluation=io.read("evaluation_report"),
        onnx_model=io.read("onnx_model"),
        parity=io.read("parity_report"),
    )
    root, run_id = dataset.open(artifacts).path, context.run.run_id
    outcome = publish_or_keep(candidate, io.store, root, run_id, io.store_artifact)
    context.log.info(outcome.decision)
    for verdict in outcome.verdicts:
        yield answer("released_model", verdict)
    release = outcome.standing()
    yield io.report(release, release_page(release, outcome.decision))


def release_page(artifact: Artifact, decision: str) -> Page:
    card = artifact.file("MODEL_CARD.md").read_text("utf-8")
    report = artifact.json("evaluation_report.json")
    return {
        "headline": decision.partition(": ")[0],
        "decision": decision,
        "top1": report["top1"],
        "split": report["split"],
        "dataset": readable(artifact.manifest["dataset"]),
        "model_card": dg.MetadataValue.md(card),
        "model": dg.MetadataValue.path(f"{artifact.location}/model.onnx"),
    }
