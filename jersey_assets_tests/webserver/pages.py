"""Web pages that run, and what clients send to them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
JSON = {"Content-Type": "application/json"}
# What Dagster's page sends when a switch of the automation page is clicked.
MUTATION = "mutation { setAutoMaterializePaused(paused: %s) }"
PAUSED = "{ instance { autoMaterializePaused } }"


@dataclass
class Page:
    """A webserver that runs."""

    process: subprocess.Popen[str]
    port: int
    password: str | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def send(
        self,
        method: str,
        target: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        password: str | None = None,
    ) -> HTTPResponse:
        """Sends one request as written, with the page's own password if any."""
        sent = {"Host": self.host} | credentials(password or self.password)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, target, skip_host=True)
        for name, value in {**sent, **(headers or {})}.items():
            connection.putheader(name, value)
        encoded = (body or "").encode()
        if body is not None:
            connection.putheader("Content-Length", str(len(encoded)))
        connection.endheaders(encoded)
        response = connection.getresponse()
        response.read_body = response.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return response

    def ask(self, query: str, headers: Mapping[str, str] | None = None) -> object:
        """Answer to a query that the page itself could send."""
        own = JSON | {"Origin": f"http://{self.host}"}
        sent = self.send(
            "POST", "/graphql", json.dumps({"query": query}), own | dict(headers or {})
        )
        assert sent.status == 200, sent.read_body  # type: ignore[attr-defined]
        return json.loads(sent.read_body)["data"]  # type: ignore[attr-defined]

    def shake_hands(self, *headers: str) -> tuple[str, socket.socket]:
        """First line of the answer to a WebSocket handshake, and the connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        lines = [
            "GET /graphql HTTP/1.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol: graphql-ws",
            *headers,
        ]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        return answer.decode().splitlines()[0], connection


def credentials(password: str | None) -> dict[str, str]:
    if password is None:
        return {}
    token = base64.b64encode(f"operator:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def start(
    home: Path, *arguments: str, errors: int = subprocess.DEVNULL, **environment: str
) -> Page:
    """Starts a webserver on a free port, and returns when it serves."""
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jersey_assets.webserver",
            "--port",
            "0",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    assert process.stdout is not None
    line = next(line for line in process.stdout if line.startswith("Dagster's page: "))
    port = int(line.split()[2].rpartition(":")[2])
    return Page(process, port, environment.get("JERSEY_UI_PASSWORD"))


LAUNCH = """mutation($job: String!, $config: RunConfigData) {
  launchRun(executionParams: {selector: {
    repositoryLocationName: "jersey_assets", repositoryName: "__repository__",
    jobName: $job
  }, runConfigData: $config}) {
    __typename
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""


def launch(page: Page, job: str, config: object) -> str:
    """Launches a run as the Launchpad does; the answer as text."""
    variables = {"job": job, "config": config}
    body = json.dumps({"query": LAUNCH, "variables": variables})
    answer = page.send("POST", "/graphql", body, JSON)
    return str(answer.read_body)  # type: ignore[attr-defined]


def replaced(page: Page, password: str | None) -> Page:
    return Page(page.process, page.port, password)


def ended(connection: socket.socket, wait: bool = True) -> bool:
    connection.setblocking(wait)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
