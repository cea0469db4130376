"""All private parts of Dagster that this project uses: look here when upgrading it.

None of them is stable API: `pyproject.toml` allows one minor version of Dagster, and
`test_dagster_internals.py` shows what has changed in the next one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from dagster._config import (
    ConfigType,
    ConfigTypeKind,
    EvaluationError,
    PostProcessingError,
)
from dagster._config.errors import RuntimeMismatchErrorData
from dagster._core.errors import raise_execution_interrupts
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import (
    PlanExecutionContext,
    PlanOrchestrationContext,
)
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import inner_plan_execution_iterator
from dagster._core.execution.plan.instance_concurrency_context import (
    InstanceConcurrencyContext,
)
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as _ANSWERED,
)

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = [
    "ActiveExecution",
    "ConfigType",
    "ConfigTypeKind",
    "EngineEventData",
    "EvaluationError",
    "ExecuteRunWithPlanIterable",
    "ExecutionPlan",
    "InProcessExecutor",
    "InstanceConcurrencyContext",
    "OwnShape",
    "PlanExecutionContext",
    "PlanExecutionContextManager",
    "PlanOrchestrationContext",
    "PostProcessingError",
    "RetryMode",
    "RuntimeMismatchErrorData",
    "forget_input_version",
    "free_slots",
    "inner_plan_execution_iterator",
    "newest_answer",
    "page_of",
    "raise_execution_interrupts",
    "slot_holders",
    "unanswered_run",
    "wait_for_code_server",
]


class OwnShape(dg.Shape):
    """A config shape that is not shared; Dagster merges equal plain shapes."""

    def __new__(cls, *_: Any) -> Self:
        """Makes a separate instance."""
        made = object.__new__(cls)
        made._initialized = False
        return made


def forget_input_version(context: dg.AssetExecutionContext, asset: dg.AssetKey) -> None:
    """Makes a step look up an input's version again, which it noted at its start."""
    context.get_step_execution_context().wipe_input_asset_version_info(asset)


def unanswered_run(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> str:
    """Id of the run that made a check's newest entry, if that entry has no answer."""
    history = instance.event_log_storage.get_asset_check_execution_history
    for record in history(check, limit=1):
        return "" if record.status in _ANSWERED else record.run_id
    return ""


def newest_answer(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey
) -> dg.AssetCheckEvaluation | None:
    """The last answer of a check, if there is one."""
    history = instance.event_log_storage.get_asset_check_execution_history
    for record in history(check, limit=1, status=set(_ANSWERED)):
        if isinstance(record.evaluation, dg.AssetCheckEvaluation):
            return record.evaluation
    return None


def slot_holders(instance: dg.DagsterInstance, pool: str) -> list[tuple[str, str]]:
    """Step and run id of each holder of a slot of a pool."""
    info = instance.event_log_storage.get_concurrency_info(pool)
    return [(str(slot.step_key), slot.run_id) for slot in info.claimed_slots]


def free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Frees the slots of pools that a run holds, and those that it waits for."""
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)


@contextmanager
def page_of(
    instance: dg.DagsterInstance, workspace: Path, poll_rate_ms: int
) -> Iterator[Starlette]:
    """Dagster's web page as an ASGI application.

    Args:
        instance: what it shows.
        workspace: `workspace.yaml` that names the code servers.
        poll_rate_ms: how often an open page polls for news.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import (
        DEFAULT_DB_STATEMENT_TIMEOUT,
        DEFAULT_POOL_MAX_OVERFLOW,
        DEFAULT_POOL_RECYCLE,
    )

    instance.optimize_for_webserver(
        DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
    )
    target = WorkspaceFileTarget(paths=[str(workspace)])
    with WorkspaceProcessContext(instance, target) as process_context:
        yield create_app_from_workspace_process_context(
            process_context, live_data_poll_rate=poll_rate_ms
        )


def wait_for_code_server(
    process: subprocess.Popen[str], socket: Path, command: Sequence[str]
) -> None:
    """Waits until a code server answers on its socket, while its process lives.

    Raises:
        Exception: the process has ended.
    """
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.server import wait_for_grpc_server

    client = DagsterGrpcClient(socket=str(socket))
    wait_for_grpc_server(process, client, command, timeout=0)
