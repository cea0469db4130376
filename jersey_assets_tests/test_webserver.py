"""The web page behind its guard: real processes, real requests, raw handshakes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import uvicorn

from jersey_assets import webserver
from jersey_assets.operations import connections
from jersey_assets.operations.connections import MOST_OF_ONE_CLIENT, LimitedProtocol
from jersey_assets.operations.guard import Receive, Scope, Send
from jersey_assets_tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[1]
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


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A webserver as `make ui` starts it, less the daemon."""
    home = tmp_path_factory.mktemp("page") / "home"
    started = start(home, JERSEY_UI_HOSTS="numbers.example")
    yield started
    started.process.terminate()
    assert started.process.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A webserver with a password and its daemon."""
    home = tmp_path_factory.mktemp("locked") / "home"
    started = start(home, "--daemon", JERSEY_UI_PASSWORD="pässword: with colon")
    yield started
    started.process.kill()


def test_the_page_and_its_files_are_served_and_cannot_be_framed(page: Page) -> None:
    opened = page.send("GET", "/")
    assert (opened.status, opened.getheader("Location")) == (307, "/asset-groups")
    assert opened.getheader("X-Frame-Options") == "DENY"
    for target in ("/asset-groups", "/server_info", "/favicon.svg"):
        found = page.send("GET", target)
        assert found.status == 200
        assert found.getheader("X-Frame-Options") == "DENY"
        policies = found.headers.get_all("Content-Security-Policy")
        assert "frame-ancestors 'none'" in policies
        assert found.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert found.headers.get_all("Referrer-Policy") == ["same-origin"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST", "[::1]:80", "numbers.example"]
)
def test_the_page_is_found_by_the_names_it_has(page: Page, host: str) -> None:
    host = host.format(page.port)
    origin = f"http://{host}"
    assert page.ask(PAUSED, {"Host": host, "Origin": origin})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:3000",
        "evil.example@127.0.0.1",
        "127.0.0.1:3000:80",
        "localhost.",
        "0.0.0.0",
        "",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(page: Page, host: str) -> None:
    headers = JSON | {"Host": host, "Origin": f"http://{host}"}
    body = json.dumps({"query": PAUSED})
    for method, target in (("GET", "/"), ("POST", "/graphql")):
        assert page.send(method, target, body, headers).status in (400, 421)
    opened, connection = page.shake_hands(f"Host: {host}", f"Origin: http://{host}")
    connection.close()
    assert opened.split()[1] in ("400", "403")


def test_no_host_or_two_are_refused(page: Page) -> None:
    for lines in ("", f"Host: {page.host}\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), timeout=60) as sent:
            sent.sendall(f"GET / HTTP/1.0\r\n{lines}\r\n".encode())
            assert sent.recv(100).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/graphql?query={}", {}),
        ("GET", "/graphql?query={}", {"Accept": "text/html"}),
        ("GET", "/graphql/?query={}", {}),
        ("GET", "/graphql%0A?query={}", {}),
        ("GET", "/%67raphql?query={}", {}),
        ("HEAD", "/graphql?query={}", {}),
        ("POST", "/graphql?query={}", {}),
        ("POST", "/graphql", {"Content-Type": "text/plain"}),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}),
        ("POST", "/graphql", {"Content-Type": "application/graphql"}),
        ("POST", "/graphql", {"Content-Type": "multipart/form-data; boundary=x"}),
        ("POST", "/graphql", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("POST", "/report_asset_materialization/released_model", {}),
        ("POST", "/graphql", JSON | {"Origin": "http://evil.example"}),
        ("POST", "/graphql", JSON | {"Origin": "null"}),
        ("POST", "/graphql", JSON | {"Origin": "http://127.0.0.1:1"}),
        ("POST", "/graphql", JSON | {"Origin": "http://localhost:PORT"}),
        ("POST", "/graphql", JSON | {"Origin": "http://127.0.0.1:PORT.evil.example"}),
        ("GET", "/", {"Origin": "http://evil.example"}),
        ("PUT", "/graphql", JSON),
        ("OPTIONS", "/graphql", {"Access-Control-Request-Method": "POST"}),
        ("OPTIONS", "/graphql", {"Origin": "http://evil.example"}),
    ],
)
def test_what_another_page_could_send_does_nothing(
    page: Page, method: str, target: str, headers: dict[str, str]
) -> None:
    query = (MUTATION % "false").replace(" ", "%20")
    headers = {k: v.replace("PORT", str(page.port)) for k, v in headers.items()}
    body = None if method == "GET" else json.dumps({"query": MUTATION % "false"})
    refused = page.send(method, target.format(query), body, headers)
    assert refused.status in (403, 405, 415)
    assert refused.getheader("Access-Control-Allow-Origin") is None
    assert page.ask(PAUSED) == {"instance": {"autoMaterializePaused": True}}


def test_the_page_itself_and_a_script_change_what_they_like(page: Page) -> None:
    assert page.ask(MUTATION % "false") == {"setAutoMaterializePaused": False}
    assert page.ask(PAUSED) == {"instance": {"autoMaterializePaused": False}}
    body = json.dumps({"query": MUTATION % "true"})
    content = {"Content-Type": "application/json; charset=utf-8"}
    assert page.send("POST", "/graphql", body, content).status == 200
    assert page.ask(PAUSED) == {"instance": {"autoMaterializePaused": True}}


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


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"trained_checkpoint": {"config": {"epochs": 900000}}}, "must be at least 1"),
        (
            {
                "trained_checkpoint": {
                    "config": {"sampler": "sqrt", "class_weights": "sqrt"}
                }
            },
            "would correct the imbalance twice",
        ),
        ({"trained_checkpoint": {"config": {"epoch": 3}}}, "epoch"),
        ({"trained_checkpont": {"config": {"epochs": 3}}}, "trained_checkpont"),
    ],
)
def test_the_launchpad_starts_no_run_with_wrong_settings(
    page: Page, section: object, said: str
) -> None:
    assert said in launch(page, "retrain", {"ops": section})
    assert page.ask("{ runsOrError { ... on Runs { results { runId } } } }") == {
        "runsOrError": {"results": []}
    }


def test_a_websocket_opens_for_the_page_and_for_no_other(page: Page) -> None:
    host = f"Host: {page.host}"
    opened, connection = page.shake_hands(host, f"Origin: http://{page.host}")
    assert opened.split()[1] == "101"
    greeting = json.dumps({"type": "connection_init"}).encode()
    masked = bytes([0x81, 0x80 | len(greeting), 0, 0, 0, 0]) + greeting
    connection.sendall(masked)
    assert b"connection_ack" in connection.recv(100)
    connection.close()
    for origin in (
        [],
        ["Origin: http://evil.example"],
        ["Origin: null"],
        [f"Origin: http://localhost:{page.port}"],
        [f"Origin: http://{page.host}", "Origin: http://evil.example"],
    ):
        opened, connection = page.shake_hands(host, *origin)
        connection.close()
        assert opened.split()[1] in ("400", "403")


def test_the_password_is_asked_for_everywhere(locked: Page) -> None:
    assert locked.send("GET", "/asset-groups").status == 200
    assert locked.ask(PAUSED)
    opened = replaced(locked, None)
    for method, target in (
        ("GET", "/"),
        ("GET", "/favicon.svg"),
        ("GET", "/server_info"),
        ("POST", "/graphql"),
        ("GET", "/logs/x/out"),
    ):
        refused = opened.send(method, target, "{}", JSON)
        assert refused.status == 401
        assert "Basic" in (refused.getheader("WWW-Authenticate") or "")


def replaced(page: Page, password: str | None) -> Page:
    return Page(page.process, page.port, password)


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !",
        "Basic " + base64.b64encode(b"operator").decode(),
        "Basic " + base64.b64encode(b"operator:").decode(),
        "Basic " + base64.b64encode(b"operator:password").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Bearer " + base64.b64encode("x:pässword: with colon".encode()).decode(),
    ],
)
def test_a_wrong_password_is_refused(locked: Page, header: str) -> None:
    sent = replaced(locked, None).send("GET", "/", headers={"Authorization": header})
    assert sent.status == 401


def test_a_websocket_needs_the_password_as_well(locked: Page) -> None:
    own = (f"Host: {locked.host}", f"Origin: http://{locked.host}")
    authorization = credentials(locked.password)["Authorization"]
    for headers, status in (
        ([], "403"),
        (["Authorization: Basic QTpC"], "403"),
        ([f"Authorization: {authorization}"], "101"),
    ):
        opened, connection = locked.shake_hands(*own, *headers)
        connection.close()
        assert opened.split()[1] == status


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: Basic \xff\xfe",
        b"Authorization: \xff\xfe \xff",
        b"Authorization: Basic \xc3\xa9\xc3\xa9",
        b"Authorization: Basic QTpC\xff",
        b"Cookie: jersey-assets-seen=\xff\xfe",
        b"Authorization: Basic QTpC\r\nAuthorization: Basic QTpD",
    ],
)
def test_credentials_that_are_no_text_are_wrong_ones(locked: Page, line: bytes) -> None:
    for upgrade, wanted in (
        (b"", b"401"),
        (
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            b"403",
        ),
    ):
        with socket.create_connection(("127.0.0.1", locked.port)) as connection:
            host = locked.host.encode()
            connection.sendall(
                b"GET /graphql HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\n%s%s\r\n\r\n"
                % (host, host, upgrade, line)
            )
            assert connection.recv(1000).split()[1] == wanted


def test_several_passwords_in_one_request_are_none(locked: Page) -> None:
    right = credentials(locked.password)["Authorization"]
    with socket.create_connection(("127.0.0.1", locked.port)) as connection:
        lines = f"Authorization: Basic QTpC\r\nAuthorization: {right}"
        connection.sendall(
            f"GET / HTTP/1.1\r\nHost: {locked.host}\r\n{lines}\r\n\r\n".encode()
        )
        assert connection.recv(1000).split()[1] == b"401"


def test_a_browser_is_known_again_and_its_cookie_opens_nothing(locked: Page) -> None:
    cookie = locked.send("GET", "/favicon.svg").getheader("Set-Cookie") or ""
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    sent = {"Cookie": cookie.partition(";")[0]}
    again = locked.send("GET", "/favicon.svg", headers=sent)
    assert (again.status, again.getheader("Set-Cookie")) == (200, None)
    assert replaced(locked, None).send("GET", "/", headers=sent).status == 401


LINK = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("site", ["cross-site", "same-site", "made-up"])
def test_another_page_may_link_here_and_nothing_else(page: Page, site: str) -> None:
    from_there = {"Sec-Fetch-Site": site}
    assert (
        page.send("GET", webserver.FIRST_PAGE, headers=from_there | LINK).status == 200
    )
    for method, target, more in (
        ("GET", "/", {}),
        ("GET", "/", {**LINK, "Sec-Fetch-Dest": "iframe"}),
        ("GET", "/", {**LINK, "Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/favicon.svg", {"Sec-Fetch-Mode": "no-cors"}),
        ("HEAD", "/", LINK),
        ("POST", "/graphql", JSON | LINK),
        ("POST", "/graphql", JSON | {"Origin": f"http://{page.host}"}),
    ):
        body = json.dumps({"query": MUTATION % "false"}) if method == "POST" else None
        refused = page.send(method, target, body, from_there | more)
        assert refused.status == 403, (method, target, more)
    own = (f"Host: {page.host}", f"Origin: http://{page.host}")
    opened, connection = page.shake_hands(*own, f"Sec-Fetch-Site: {site}")
    connection.close()
    assert opened.split()[1] == "403"
    assert page.ask(PAUSED) == {"instance": {"autoMaterializePaused": True}}


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_page_itself_and_an_address_typed_in_pass(page: Page, site: str) -> None:
    assert page.ask(PAUSED, {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"})
    own = (f"Host: {page.host}", f"Origin: http://{page.host}")
    opened, connection = page.shake_hands(*own, f"Sec-Fetch-Site: {site}")
    connection.close()
    assert opened.split()[1] == "101"


def sent_until_closed(page: Page, head: bytes, filler: bytes) -> int:
    """How many bytes a server takes before it ends the connection."""
    sent = 0
    with socket.create_connection(("127.0.0.1", page.port)) as connection:
        connection.sendall(head)
        with suppress(OSError):
            while sent < 64 * 1024 * 1024:
                connection.sendall(filler)
                sent += len(filler)
    return sent


def test_no_header_of_megabytes_is_read(locked: Page) -> None:
    head = f"GET / HTTP/1.1\r\nHost: {locked.host}\r\nX-Long: ".encode()
    sent = sent_until_closed(locked, head, b"x" * 65536)
    assert sent < 32 * 1024 * 1024
    assert locked.send("GET", "/favicon.svg").status == 200


def test_no_body_of_megabytes_is_read(locked: Page) -> None:
    right = credentials(locked.password)["Authorization"]
    for known in ("", f"Authorization: {right}\r\n"):
        for method, length, status in (
            ("POST", "Content-Length: 300000000", b"413"),
            ("GET", "Content-Length: 300000000", b"413"),
            ("POST", "Content-Length: 1048577", b"413"),
            ("POST", "Transfer-Encoding: chunked", b"411"),
        ):
            head = (
                f"{method} /graphql HTTP/1.1\r\nHost: {locked.host}\r\n{known}"
                f"Content-Type: application/json\r\n{length}\r\n\r\n"
            ).encode()
            with socket.create_connection(("127.0.0.1", locked.port)) as connection:
                connection.sendall(head)
                answer = connection.recv(1000)
                assert answer.split()[1] == status
                while connection.recv(1000):
                    pass
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: {locked.host}\r\n"
        "Content-Type: application/json\r\nContent-Length: 300000000\r\n\r\n"
    )
    sent = sent_until_closed(locked, head.encode(), b"x" * 65536)
    assert sent < 32 * 1024 * 1024


def test_a_run_config_of_hundreds_of_kilobytes_is_read(page: Page) -> None:
    assert page.ask(PAUSED + "#" + "x" * 900_000)


def test_one_client_has_a_number_of_connections(page: Page) -> None:
    opened = [
        socket.create_connection(("127.0.0.1", page.port), timeout=60)
        for _ in range(MOST_OF_ONE_CLIENT + 5)
    ]
    try:
        # Those past the number are ended, whoever they are.
        assert any(ended(connection) for connection in opened[-5:])
        assert not ended(opened[0], wait=False)
    finally:
        for connection in opened:
            connection.close()
    while True:
        with suppress(OSError):
            assert page.send("GET", "/favicon.svg").status == 200
            break
        time.sleep(0.1)


def ended(connection: socket.socket, wait: bool = True) -> bool:
    connection.setblocking(wait)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_who_takes_too_long_over_a_header_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "REQUEST_WITHIN_S", 0.5)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})

    config = uvicorn.Config(
        answer, http=LimitedProtocol, lifespan="off", log_level="error"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            address = listening.getsockname()
            for start in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
                with socket.create_connection(address, timeout=60) as slow:
                    slow.sendall(start)
                    assert ended(slow)
            with socket.create_connection(address, timeout=60) as quick:
                for _ in range(3):
                    quick.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert b"200" in quick.recv(1000)
        finally:
            server.should_exit = True
            thread.join()


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that they did."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # threads come and go
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def is_daemon(pid: int) -> bool:
    return b"dagster-daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()


def listening(pid: int) -> set[int]:
    """TCP ports that a process listens on."""
    held = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in held:
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


@linux
def test_nothing_else_listens_and_no_other_process_knows_the_password(
    locked: Page,
) -> None:
    own = locked.process.pid
    children = descendants(own)
    assert any(map(is_daemon, children))
    assert set().union(*map(listening, [own, *children])) == {locked.port}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes()
        assert b"DAGSTER_HOME" in environment
        assert b"JERSEY_UI_PASSWORD" not in environment


@linux
def test_the_page_ends_with_its_daemon(locked: Page) -> None:
    """Runs last of those that use the page, which it ends."""
    (daemon,) = filter(is_daemon, descendants(locked.process.pid))
    os.kill(daemon, signal.SIGKILL)
    assert locked.process.wait(PATIENCE_S) == 1


@linux
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_daemon_ends_with_the_page(tmp_path: Path, number: signal.Signals) -> None:
    started = start(tmp_path / "home", "--daemon")
    children = descendants(started.process.pid)
    assert any(map(is_daemon, children))
    started.process.send_signal(number)
    assert started.process.wait(PATIENCE_S) == (-9 if number is signal.SIGKILL else 0)
    wait_until(
        lambda: not any(Path(f"/proc/{child}").exists() for child in children),
        "the end of all processes",
    )


@pytest.mark.slow
def test_it_says_nothing_but_what_becomes_of_runs(tmp_path: Path) -> None:
    environment = {
        "JERSEY_DATA_ROOT": str(tmp_path / "none"),
        "JERSEY_ARTIFACT_ROOT": str(tmp_path / "artifacts"),
        "JERSEY_TICK_S": "1",
    }
    started = start(
        tmp_path / "home", "--daemon", errors=subprocess.STDOUT, **environment
    )
    time.sleep(150)  # the daemon looks at the graph anew every minute
    assert "LaunchRunSuccess" in launch(started, "validate_annotations", {})
    assert started.process.stdout is not None
    told = []
    for line in started.process.stdout:
        told.append(line)
        if " is failure: " in line:
            break
    assert all(line.startswith("run ") for line in told), told
    assert not any("\x1b" in line for line in told)
    started.process.terminate()
    assert started.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("password", [None, ""])
def test_it_does_not_listen_to_other_machines_without_a_password(
    host: str,
    password: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("JERSEY_UI_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("JERSEY_UI_PASSWORD", password)
    assert webserver.main(["--host", host, "--port", "0"]) == 2
    assert "set JERSEY_UI_PASSWORD" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert webserver.main(["--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_wrong_settings_of_the_sensors_runs_are_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "retrain.yaml"
    config.write_text("ops:\n  trained_checkpoint:\n    config: {epoch: 3}\n")
    monkeypatch.setenv("JERSEY_RETRAIN_CONFIG", str(config))
    assert webserver.main(["--port", "0"]) == 2
    assert f"{config}:3: `epoch` is not a knob" in capsys.readouterr().err
