"""Runs that fail are told, and a webhook that is down harms nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from jersey_assets.operations import alerts
from jersey_assets.operations.sensors import failed_runs
from jersey_assets_tests.waiting import PATIENCE_S


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
    assert "127.0.0.1 did not accept the alert" in printed
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
    assert "did not accept the alert: TimeoutError" in "".join(capfd.readouterr())


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/", "nonsense"])
def test_only_web_addresses_are_posted_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alerts.WEBHOOK, url)
    with pytest.raises(alerts.AlertError, match="not an http or https URL"):
        alerts.post("run", "job", "message")


def test_without_a_webhook_a_failed_run_is_only_logged(
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(alerts.WEBHOOK, raising=False)
    failed_runs(failed_run(instance))
    assert "chain: run" in "".join(capfd.readouterr())
