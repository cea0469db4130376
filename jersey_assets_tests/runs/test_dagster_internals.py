"""What this project uses of Dagster's insides is still there and does what it did."""

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import uvicorn
from dagster._core.test_utils import create_run_for_test
from dagster._utils.interrupts import capture_interrupts
from starlette.applications import Starlette

from jersey_assets.runs import executor
from jersey_assets.runs.dagster_internals import (
    ActiveExecution,
    ConfigTypeKind,
    ExecutionPlan,
    InProcessExecutor,
    InstanceConcurrencyContext,
    OwnShape,
    PostProcessingError,
    RuntimeMismatchErrorData,
    forget_input_version,
    free_slots,
    inner_plan_execution_iterator,
    newest_answer,
    page_of,
    raise_execution_interrupts,
    slot_holders,
    unanswered_run,
    wait_for_code_server,
)
from jersey_assets_tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]
STATUS = dg.DagsterRunStatus


def test_one_file_knows_dagsters_insides() -> None:
    private = ("dagster._", "event_log_storage", "get_step_execution_context")
    files = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "jersey_assets").rglob("*.py")
        if any(word in path.read_text("utf-8") for word in private)
    ]
    assert files == ["jersey_assets/runs/dagster_internals.py"]


def test_shapes_with_the_same_fields_are_two() -> None:
    fields = {"a": dg.Field(int)}
    assert dg.Shape(fields) is dg.Shape(fields)
    assert OwnShape(fields) is not OwnShape(fields)


def test_a_config_type_refuses_a_value_with_a_sentence_of_its_own() -> None:
    class Even(OwnShape):
        def post_process(self, value: dict) -> dict:
            raise PostProcessingError(f"{value['a']} is odd")

    @dg.op(config_schema=Even({"a": dg.Field(int)}))
    def counts() -> None:
        pass

    @dg.job
    def counting() -> None:
        counts()

    def refused(value: object) -> dg.DagsterInvalidConfigError:
        config = {"ops": {"counts": {"config": {"a": value}}}}
        with pytest.raises(dg.DagsterInvalidConfigError) as raised:
            dg.validate_run_config(counting, config)
        return raised.value

    assert "3 is odd" in str(refused(3))
    (error,) = refused("x").errors
    assert isinstance(error.error_data, RuntimeMismatchErrorData)
    assert list(error.stack.levels) == ["ops", "counts", "config", "a"]
    schema = counting.run_config_schema.run_config_schema_type
    ops = schema.fields["ops"].config_type
    assert ops.kind is ConfigTypeKind.STRICT_SHAPE


def test_an_input_version_that_was_noted_is_forgotten(
    instance: dg.DagsterInstance,
) -> None:
    files = dg.AssetSpec("files")

    def see(version: str) -> None:
        tags = {"dagster/data_version": version}
        event = dg.AssetObservation("files", tags=tags)
        instance.report_runless_asset_event(event)

    @dg.asset(deps=[files])
    def reader(context: dg.AssetExecutionContext) -> None:
        see("second")
        if context.run.tags.get("forget"):
            forget_input_version(context, dg.AssetKey("files"))

    def linked(**tags: str) -> str:
        see("first")
        assert dg.materialize([files, reader], instance=instance, tags=tags).success
        event = instance.get_latest_materialization_event(dg.AssetKey("reader"))
        return event.asset_materialization.tags["dagster/input_data_version/files"]

    assert linked() == "first"
    assert linked(forget="yes") == "second"


def test_an_entry_without_an_answer_is_told_from_the_last_answer(
    instance: dg.DagsterInstance,
) -> None:
    @dg.asset
    def made() -> None:
        pass

    @dg.asset_check(asset=made)
    def holds() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True, description="it does")

    key = dg.AssetCheckKey(dg.AssetKey("made"), "holds")
    assert newest_answer(instance, key) is None
    definitions = dg.Definitions([made], asset_checks=[holds])
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance)
    assert unanswered_run(instance, key) == ""
    planned = instance.create_run_for_job(job)
    assert unanswered_run(instance, key) == planned.run_id
    said = newest_answer(instance, key)
    assert said is not None
    assert said.description == "it does"


def test_slots_of_a_pool_are_told_and_freed(instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots("gpu", 1)
    first, second = (
        create_run_for_test(instance, "job", status=STATUS.STARTED) for _ in range(2)
    )
    said: list[str] = []
    with executor._Slots(instance, first, said.append) as slots:
        assert slots.claim("gpu", "train")
        assert slot_holders(instance, "gpu") == [("train", first.run_id)]
        with executor._Slots(instance, second, said.append) as others:
            assert not others.claim("gpu", "train")
            assert others.has_pending_claims()
            (line,) = said
            assert f"train waits for train of run {first.run_id[:8]}" in line
            free_slots(instance, first.run_id)
            free_slots(instance, second.run_id)
            assert slot_holders(instance, "gpu") == []


def test_what_the_executor_replaces_is_asked_by_dagsters_loop() -> None:
    loop = inspect.getsource(inner_plan_execution_iterator)
    assert "execution_plan.start(" in loop
    assert "sleep_til_ready()" in loop
    for ours, theirs in (
        (executor._Slots.claim, InstanceConcurrencyContext.claim),
        (executor._Steps.sleep_til_ready, ActiveExecution.sleep_til_ready),
        (executor._InProcess.execute, InProcessExecutor.execute),
    ):
        parameters = [list(inspect.signature(f).parameters) for f in (ours, theirs)]
        assert parameters[0] == parameters[1]
    returned = inspect.signature(ExecutionPlan.start).return_annotation
    assert returned in ("ActiveExecution", ActiveExecution)


def test_an_interrupt_that_was_noted_is_raised_where_it_may_be() -> None:
    with capture_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        with (
            pytest.raises(dg.DagsterExecutionInterruptedError),
            raise_execution_interrupts(),
        ):
            pass


def test_the_page_is_an_application_on_what_a_code_server_loads(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "graph.py").write_text(
        "import dagster as dg\n\n@dg.asset\ndef made() -> None: ...\n"
        "\ndefs = dg.Definitions([made])\n"
    )
    program = str(Path(sys.executable).with_name("dagster"))
    command = [program, "code-server", "start", "-s", "code", "-f", "graph.py"]
    with subprocess.Popen(command, cwd=tmp_path, text=True) as process:
        try:
            wait_for_code_server(process, tmp_path / "code", command)
            workspace = tmp_path / "workspace.yaml"
            server = f'{{socket: "{tmp_path}/code", location_name: here}}'
            workspace.write_text(f"load_from: [{{grpc_server: {server}}}]")
            with page_of(instance, workspace, 2000) as page:
                answer = ask(page, "{ assetNodes { assetKey { path } } }")
            assert answer["assetNodes"] == [{"assetKey": {"path": ["made"]}}]
        finally:
            process.kill()


def ask(page: Starlette, query: str) -> dict[str, Any]:
    """Asks a page over HTTP."""
    server = uvicorn.Server(uvicorn.Config(page, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        wait_until(lambda: server.started, "the page")
        request = urllib.request.Request(
            f"http://127.0.0.1:{listening.getsockname()[1]}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            found = json.load(answer)["data"]
        server.should_exit = True
        thread.join()
    return found
