"""What another page, or a name that was made to point here, may ask for."""

from __future__ import annotations

import json
import socket

import pytest

from jersey_assets import webserver
from jersey_assets_tests.webserver.pages import JSON, MUTATION, PAUSED, Page


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
