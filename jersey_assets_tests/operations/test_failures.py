"""Failures that heal, and failures that are told."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from jersey_assets.graph.resources import Artifacts
from jersey_assets.operations import alerts
from jersey_assets.operations.sensors import failed_runs, lost_runs
from jersey_assets.runs import liveness
from jersey_assets.runs.liveness import PROCESS_TAG, end_lost_runs, tie
from jersey_assets.storage.lock import one_at_a_time
from jersey_assets.storage.store import Store
from jersey_assets_tests import stopped
from jersey_assets_tests.graph.test_interruption import home
from jersey_assets_tests.waiting import PATIENCE_S, wait_until

__all__ = ["home"]  # a fixture

STATUS = dg.DagsterRunStatus


def test_a_killed_run_is_ended_and_gives_back_lock_and_slot(
    rendered: Path,
    tmp_path: Path,
    home: dg.DagsterInstance,
) -> None:
    artifacts = tmp_path / "artifacts"
    command = [sys.executable, "-m", "jersey_assets_tests.stopped", rendered, artifacts]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert any(stopped.WAITING in line for line in process.stdout)
    (run,) = home.get_runs()
    slots = home.event_log_storage.get_concurrency_info
    assert end_lost_runs(home) == []
    assert slots("gpu").active_slot_count == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert home.get_runs()[0].status is STATUS.STARTED
    with dg.build_sensor_context(home) as context:
        message = lost_runs.evaluate_tick(context).skip_message
    assert run.run_id[:8] in str(message)
    assert home.get_runs()[0].status is STATUS.FAILURE
    assert slots("gpu").active_slot_count == 0
    lock = Store(str(artifacts)).scratch() / "training.lock"
    with one_at_a_time(lock, "the next run"):
        assert "the next run" in lock.read_text()


def test_only_runs_without_a_process_are_ended(instance: dg.DagsterInstance) -> None:
    started, canceling, elsewhere = (
        create_run_for_test(instance, "job", status=status)
        for status in (STATUS.STARTED, STATUS.CANCELING, STATUS.STARTED)
    )
    tie(instance, started.run_id)
    tie(instance, canceling.run_id)
    instance.add_run_tags(elsewhere.run_id, {PROCESS_TAG: "of-another-home.lock"})
    assert end_lost_runs(instance) == []
    folder = Path(instance.root_directory) / "processes"
    (lock,) = folder.iterdir()
    lock.rename(folder / "held.lock")
    lock.touch()  # what a killed process leaves behind: nobody holds it
    ended = {run.run_id for run in end_lost_runs(instance)}
    assert ended == {started.run_id, canceling.run_id}
    statuses = [
        instance.get_run_by_id(run.run_id).status
        for run in (started, canceling, elsewhere)
    ]
    assert statuses == [STATUS.FAILURE, STATUS.CANCELED, STATUS.STARTED]
    assert [path.name for path in folder.iterdir()] == ["held.lock"]


def test_where_no_daemon_runs_a_run_ends_the_lost_ones(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_LOOK_S", 0.05)
    lost = create_run_for_test(instance, "job", status=STATUS.STARTED)

    @dg.asset
    def waits(artifacts: Artifacts) -> None:
        (Path(instance.root_directory) / "processes" / "gone.lock").touch()
        instance.add_run_tags(lost.run_id, {PROCESS_TAG: "gone.lock"})
        wait_until(
            lambda: instance.get_run_by_id(lost.run_id).status is STATUS.FAILURE,
            "the end of the lost run",
        )

    resources = {"artifacts": Artifacts(root=str(tmp_path))}
    monkeypatch.setenv("JERSEY_ARTIFACT_ROOT", str(tmp_path))
    assert dg.materialize([waits], instance=instance, resources=resources).success


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


class Receiver(BaseHTTPRequestHandler):
    """A webhook that refuses as often as it is told to."""

    refusals = 0
    bodies: list[dict[str, str]]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        type(self).bodies.append(json.loads(self.rfile.read(length)))
        type(self).refusals -= 1
        self.send_response(503 if self.refusals >= 0 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Receiver]]:
    Receiver.bodies, Receiver.refusals = [], 0
    monkeypatch.setattr(alerts, "_TIMEOUT_S", PATIENCE_S)
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/secret-token"
        monkeypatch.setenv(alerts.WEBHOOK, url)
        yield Receiver
        server.shutdown()


def failed_run(instance: dg.DagsterInstance) -> dg.RunFailureSensorContext:
    """The failure of a real run, as the sensor gets it."""

    @dg.op
    def breaks() -> None:
        raise OSError("quotes \" and 'these' and \x00")

    @dg.job
    def chain() -> None:
        breaks()

    result = chain.execute_in_process(instance=instance, raise_on_error=False)
    return dg.build_run_status_sensor_context(
        sensor_name="failed_runs",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()


def test_a_failed_run_is_posted(
    webhook: type[Receiver], instance: dg.DagsterInstance
) -> None:
    context = failed_run(instance)
    failed_runs(context)
    (body,) = webhook.bodies
    assert body["job"] == "chain"
    assert body["run_id"] == context.dagster_run.run_id
    assert "failed" in body["text"]


def test_a_webhook_that_is_down_is_logged_without_its_secret(
    webhook: type[Receiver],
    instance: dg.DagsterInstance,
    capfd: pytest.CaptureFixture[str],
) -> None:
    webhook.refusals = 99
    failed_runs(failed_run(instance))
    printed = "".join(capfd.readouterr())
    assert "127.0.0.1 did not take the alert" in printed
    assert "secret-token" not in printed


def test_a_webhook_that_never_answers_is_not_waited_for(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(alerts, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv(alerts.WEBHOOK, f"http://127.0.0.1:{port}/")
        failed_runs(failed_run(instance))
    assert "did not take the alert: TimeoutError" in "".join(capfd.readouterr())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/", "nonsense"])
def test_only_web_addresses_are_posted_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alerts.WEBHOOK, url)
    with pytest.raises(alerts.AlertError, match="no http or https URL"):
        alerts.post("run", "job", "message")


def test_without_a_webhook_a_failed_run_is_only_logged(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(alerts.WEBHOOK, raising=False)
    failed_runs(failed_run(instance))
    assert "chain: run" in "".join(capfd.readouterr())
