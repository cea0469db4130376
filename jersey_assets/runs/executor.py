"""The in-process executor: runs all steps in one process and logs waits for a pool.

While another run holds a slot, Dagster's own in-process executor polls for it without a
pause, logs next to nothing, and ignores signals until it has the slot; it also ignores
them during the pause before a retry. This one logs at once which run it waits for,
polls twice a second, and ends when the run is terminated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from jersey_assets.runs.dagster_internals import (
    ActiveExecution,
    EngineEventData,
    ExecuteRunWithPlanIterable,
    ExecutionPlan,
    InProcessExecutor,
    InstanceConcurrencyContext,
    PlanExecutionContext,
    PlanExecutionContextManager,
    PlanOrchestrationContext,
    RetryMode,
    free_slots,
    inner_plan_execution_iterator,
    raise_execution_interrupts,
    slot_holders,
)
from jersey_assets.runs.liveness import PLACE_TAG

_POLL_S = 0.5
_SAY_AGAIN_S = 300.0


class _Slots(InstanceConcurrencyContext):
    """A run's claims to slots of pools; Dagster's loop over the steps polls it."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        run: dg.DagsterRun,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(instance, run)
        self._instance, self._say = instance, say
        self._said: dict[str, float] = {}

    def claim(
        self, concurrency_key: str, step_key: str, step_priority: int = 0
    ) -> bool:
        """Takes a slot of the pool for a step, or logs what the step waits for."""
        if super().claim(concurrency_key, step_key, step_priority):
            return True
        now = time.monotonic()
        if now - self._said.get(step_key, -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._said[step_key] = now
            self._say(
                f"{step_key} waits for {self._holders(concurrency_key)}: the pool "
                f"{concurrency_key} runs one step at a time; terminate this run to "
                "stop waiting"
            )
        return False

    def _holders(self, pool: str) -> str:
        held = [
            f"{step} of run {run_id[:8]}{self._place(run_id)}"
            for step, run_id in slot_holders(self._instance, pool)
        ]
        return " and ".join(held) or "another run"

    def _place(self, run_id: str) -> str:
        run = self._instance.get_run_by_id(run_id)
        place = run.tags.get(PLACE_TAG) if run is not None else None
        return f" ({place})" if place else ""


class _Steps(ActiveExecution):
    """The remaining steps of a run; the loop over them sleeps while none can start.

    That is, while a pool is in use or a retry is not due yet.
    """

    def sleep_til_ready(self) -> None:
        """Sleeps a little, and ends with the run when that is interrupted."""
        with raise_execution_interrupts():
            time.sleep(_POLL_S)


class _Plan(ExecutionPlan):
    """A plan whose steps wait as `_Steps` do."""

    def start(self, *arguments: Any, **named: Any) -> ActiveExecution:
        return _Steps(self, *arguments, **named)


class _InProcess(InProcessExecutor):
    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        yield dg.DagsterEvent.engine_event(
            plan_context,
            f"Executing steps in process (pid: {os.getpid()})",
            EngineEventData.in_process(
                os.getpid(), execution_plan.step_keys_to_execute
            ),
        )
        yield from ExecuteRunWithPlanIterable(
            execution_plan=plan_context.execution_plan,
            iterator=_execute_steps,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=plan_context.retry_mode,
                execution_plan=plan_context.execution_plan,
                run_config=plan_context.run_config,
                dagster_run=plan_context.dagster_run,
                instance=plan_context.instance,
                raise_on_error=plan_context.raise_on_error,
                output_capture=plan_context.output_capture,
                step_dependency_config=self.step_dependency_config,
            ),
        )


def _execute_steps(
    job_context: PlanExecutionContext, execution_plan: ExecutionPlan
) -> Iterator[dg.DagsterEvent]:
    run, say = job_context.dagster_run, job_context.log.info
    with _Slots(job_context.instance, run, say) as slots:
        try:
            plan = _Plan(*execution_plan)
            yield from inner_plan_execution_iterator(job_context, plan, slots)
        finally:  # even if a step was interrupted between its claim and its start
            free_slots(job_context.instance, run.run_id)


@dg.executor(name="in_process", config_schema={})
def in_process(context: dg.InitExecutorContext) -> dg.Executor:
    """Runs all steps in the run's own process: one process per step costs seconds."""
    return _InProcess(RetryMode.ENABLED)
