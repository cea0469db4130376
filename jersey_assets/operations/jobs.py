"""The jobs: the whole graph, and its first part alone."""

from __future__ import annotations

import dagster as dg

from jersey_assets.graph.tags import GPU_TAGS

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
