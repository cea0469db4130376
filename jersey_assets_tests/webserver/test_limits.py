"""How much one client may send, how slowly, and over how many connections."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest
import uvicorn

from jersey_assets.operations import connections
from jersey_assets.operations.connections import MOST_OF_ONE_CLIENT, LimitedProtocol
from jersey_assets.operations.guard import Receive, Scope, Send
from jersey_assets_tests.webserver.pages import PAUSED, Page, credentials, ended


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
