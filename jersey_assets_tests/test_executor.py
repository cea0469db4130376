"""The executor where a run is told to stop while no step of it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from jersey_assets_tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[1]
GRAPH = """
import dagster as dg
from jersey_assets.executor import in_process

@dg.asset(pool="gpu")
def breaks() -> None:
    raise dg.RetryRequested(max_retries=1, seconds_to_wait=3600)

defs = dg.Definitions(assets=[breaks], executor=in_process)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_pauses_before_it_tries_again_ends_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    graph = tmp_path / "graph.py"
    graph.write_text(GRAPH)
    dagster = str(Path(sys.executable).with_name("dagster"))
    process = subprocess.Popen(
        [dagster, "asset", "materialize", "--select", "*", "-f", str(graph)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with dg.DagsterInstance.get() as instance:

        def pauses() -> bool:
            pause = dg.DagsterEventType.STEP_UP_FOR_RETRY
            runs = instance.get_runs()
            return any(instance.all_logs(run.run_id, of_type=pause) for run in runs)

        wait_until(pauses, "the pause")
        process.send_signal(number)
        assert process.wait(PATIENCE_S) not in (0, -signal.SIGKILL)
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert not instance.event_log_storage.get_concurrency_info("gpu").claimed_slots
