"""The jobs: what they cover, and that run config moves no root."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from jersey_assets.definitions import defs
from jersey_assets.graph.resources import Artifacts, Dataset


def validate_annotations(
    data: Path, artifacts: Path, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    """Runs the job on these roots, which run config cannot name."""
    resources = {
        "dataset": Dataset(root=str(data)),
        "artifacts": Artifacts(root=str(artifacts)),
    }
    return defs.resolve_job_def("validate_annotations").execute_in_process(
        instance=instance, resources=resources, raise_on_error=False
    )


def test_the_jobs_cover_the_graph_and_the_annotations() -> None:
    whole = defs.resolve_job_def("retrain").asset_layer.selected_asset_keys
    graph = defs.resolve_asset_graph()
    assert whole == graph.materializable_asset_keys
    part = defs.resolve_job_def("validate_annotations").asset_layer.selected_asset_keys
    assert {key.to_user_string() for key in part} == {
        "validated_annotations",
        "rejected_annotations",
    }


def test_the_validation_job_runs_the_checks_of_the_annotations(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    result = validate_annotations(rendered, tmp_path, instance)
    assert result.success
    declared = {
        key.name
        for key in defs.resolve_asset_graph().asset_check_keys
        if key.asset_key == dg.AssetKey("validated_annotations")
    }
    said = {found.check_name for found in result.get_asset_check_evaluations()}
    assert said == declared


@pytest.mark.parametrize("resource", ["dataset", "artifacts"])
@pytest.mark.parametrize(
    "root", ["/tmp", "http://127.0.0.1:9/x", {"env": "HOME"}, "memory://x"]
)
def test_run_config_does_not_move_a_root(
    resource: str, root: object, instance: dg.DagsterInstance
) -> None:
    job = defs.resolve_job_def("validate_annotations")
    config = {"resources": {resource: {"config": {"root": root}}}}
    with pytest.raises(dg.DagsterError) as raised:
        job.execute_in_process(run_config=config, instance=instance)
    assert "root cannot be set in run config" in str(raised.value.__cause__)
