"""The password is asked for everywhere."""

from __future__ import annotations

import base64
import socket

import pytest

from jersey_assets_tests.webserver.pages import (
    JSON,
    PAUSED,
    Page,
    credentials,
    replaced,
)


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
