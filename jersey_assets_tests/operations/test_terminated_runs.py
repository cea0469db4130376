"""What checks said stays on the page when a run is terminated."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dagster as dg
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
)

from jersey_assets.definitions import defs
from jersey_assets.operations.sensors import terminated_runs
from jersey_assets_tests.whole_graph import run_graph


def latest(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> tuple[str, bool]:
    """A check on Dagster's page: its status, and whether it is of this version."""
    context = LoadingContextForTest(instance)

    async def look() -> tuple[str, bool]:
        record = await AssetCheckExecutionRecord.gen(context, key)
        assert record is not None
        status = await record.resolve_status(context)
        return status.value, await record.targets_latest_materialization(context)

    return asyncio.run(look())


def test_what_checks_said_stays_visible_after_a_terminated_run(
    rendered: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    until = "class_mapping"
    made = run_graph(rendered, tmp_path, instance, until=until)
    assert made.success
    said = {
        dg.AssetCheckKey(key.asset_key, key.check_name): (key.passed, key.description)
        for key in made.get_asset_check_evaluations()
    }
    cursor = None

    def tick() -> None:
        nonlocal cursor
        with dg.build_sensor_context(instance, cursor=cursor) as context:
            cursor = terminated_runs.evaluate_tick(context).cursor or cursor

    tick()
    run = instance.create_run_for_job(defs.resolve_job_def("retrain"))
    instance.report_run_canceled(run)
    mapping = dg.AssetCheckKey(dg.AssetKey("class_mapping"), "mapping_covers_train")
    assert latest(instance, mapping) == ("SKIPPED", True)
    for _ in range(2):  # told once
        tick()
        for key, (passed, description) in said.items():
            status = "SUCCEEDED" if passed else "FAILED"
            assert latest(instance, key) == (status, True)
            (record,) = instance.event_log_storage.get_asset_check_execution_history(
                key, limit=1
            )
            assert record.evaluation is not None
            assert record.evaluation.description == description
    never = dg.AssetCheckKey(dg.AssetKey("onnx_model"), "output_is_logits")
    assert latest(instance, never)[0] == "SKIPPED"
    history = instance.event_log_storage.get_asset_check_execution_history
    assert len(history(mapping, limit=9)) == 3
