"""The jobs: `retrain` for the whole graph, `validate_annotations` for its start."""

from __future__ import annotations

import dagster as dg

from jersey_assets.graph.tags import GPU_TAGS

retrain = dg.define_asset_job(
    "retrain",
    dg.AssetSelection.all(),
    # A run is one process, so the run launcher must find the GPU's tags as well.
    tags=GPU_TAGS,
    description="The whole graph: annotations to released model.",
)

validate = dg.define_asset_job(
    "validate_annotations",
    dg.AssetSelection.assets("validated_annotations", "rejected_annotations"),
    description="Validates the annotations; trains nothing.",
)
