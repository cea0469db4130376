"""An op that hangs is ended by its own process."""

from __future__ import annotations

import signal
import subprocess
import sys

import dagster as dg
import pytest

STATUS = dg.DagsterRunStatus

HANGS = """
import signal, sys, time
import dagster as dg
from jersey_assets.runs import timeouts
timeouts.GRACE_S = {"deaf": 1.0, "hearing": 240.0}[sys.argv[1]]

@dg.asset
@timeouts.within(1 / 3600)
def hangs(context: dg.AssetExecutionContext) -> None:
    if sys.argv[1] == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    time.sleep(600)

with dg.DagsterInstance.get() as instance:
    made = dg.materialize([hangs], instance=instance, raise_on_error=False)
    sys.exit(not made.success)
"""


@pytest.mark.parametrize(("how", "code"), [("hearing", 1), ("deaf", -signal.SIGKILL)])
def test_an_op_that_hangs_is_stopped_or_killed(
    home: dg.DagsterInstance, how: str, code: int
) -> None:
    command = [sys.executable, "-c", HANGS, how]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == code
    assert "hangs has taken more than" in process.stderr
    (run,) = home.get_runs()
    killed = code == -signal.SIGKILL
    assert run.status is (STATUS.STARTED if killed else STATUS.FAILURE)
