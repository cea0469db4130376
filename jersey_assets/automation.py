"""Jobs, and the sensor that asks for a retraining when annotations change."""

import json

import dagster as dg

from jersey_assets.assets import GPU_TAGS
from jersey_assets.resources import Artifacts, Dataset

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
    minimum_interval_seconds=30,
    description="Asks for `retrain`, once, when the JSONL files are neither those that "
    "the last training read nor those that this sensor last asked for.",
)
def new_annotations(
    context: dg.SensorEvaluationContext, dataset: Dataset, artifacts: Artifacts
) -> dg.SensorResult | dg.SkipReason:
    from jersey_assets.annotations.files import fingerprint

    if not dataset.path.is_dir():
        return dg.SkipReason(f"{dataset.root} is not a folder")
    found = fingerprint(dataset.path)
    asked = json.loads(context.cursor or '{"fingerprint": null, "requests": 0}')
    if asked["fingerprint"] is None:
        trained = artifacts.store().current("trained_checkpoint")
        if trained is not None:
            asked["fingerprint"] = trained.manifest["dataset_fingerprint"]
    if found.digest == asked["fingerprint"]:
        return dg.SkipReason(f"{found.files} annotation files, none changed")
    # Numbered, so that going back to earlier annotations is asked for as well.
    number = asked["requests"] + 1
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{found.digest[:16]}-{number}",
                tags={"dataset_fingerprint": found.digest[:16]},
            )
        ],
        cursor=json.dumps({"fingerprint": found.digest, "requests": number}),
        asset_events=[
            dg.AssetObservation(
                "annotation_files", tags={"dagster/data_version": found.digest}
            )
        ],
    )
