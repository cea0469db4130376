"""The guard in front of Dagster's webserver: allowed hosts, origins and methods.

A browser sends requests to 127.0.0.1 for any page that it shows, and a name that an
attacker owns can be made to point there (DNS rebinding); Dagster's own webserver obeys
both, even mutations sent by GET. The guard is plain ASGI around any application and
knows nothing about Dagster.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from jersey_assets.operations.password import Password, Verdict, client_network

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers = dict[bytes, list[str]]

# The page's longest query has some 30 kB; a run config is a few more.
MOST_BODY_BYTES = 1024 * 1024
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_HEADERS = {
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
_COOKIE = "jersey-assets-seen"
_NO_FRAMING = (b"content-security-policy", b"frame-ancestors 'none'")
_ASK_PASSWORD = (b"www-authenticate", b'Basic realm="jersey-assets", charset="UTF-8"')


@dataclass(frozen=True)
class Refusal:
    """Why a request does not reach the application."""

    status: HTTPStatus
    reason: str


class Guard:
    """Lets through what the operator's own browser and scripts send, nothing else.

    - `Host` is one of the allowed names; with any port, since a container's port may
      be published under another one.
    - `Origin`, if present, is that host; a WebSocket must have one.
    - Other pages may link here, and may not make a browser send anything else
      (`Sec-Fetch-Site`, which browsers add and pages cannot change).
    - A body declares its length, and is not longer than GraphQL needs.
    - POST carries `application/json`, which a page of another origin cannot send
      without a preflight (CORS), and `/graphql` accepts only POST.
    - With a password, HTTP Basic on every request; any user name; guesses wait.
    - No page may frame the answers.
    """

    def __init__(
        self, application: Application, hosts: Iterable[str], password: str | None
    ) -> None:
        """Guards an application.

        Args:
            application: what is called for allowed requests.
            hosts: allowed host names, without port.
            password: None lets in everyone who can connect.
        """
        self._application = application
        self._hosts = frozenset(name.lower() for name in hosts)
        self._password = None if password is None else Password(password)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses one request, or passes it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        headers: Headers = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        refusal = (
            self._wrong_host(headers)
            or _wrong_origin(headers, required=scope["type"] == "websocket")
            or _from_another_page(scope, headers)
            or _too_long(headers)
            or await self._wrong_password(scope, headers)
            or (_wrong_method(scope, headers) if scope["type"] == "http" else None)
        )
        if scope["type"] == "websocket":
            if refusal is None:
                await self._application(scope, receive, send)
            else:  # before it is accepted, this is answered with 403
                await send({"type": "websocket.close", "code": 1008})
        elif refusal is None:
            cookies = self._cookies(headers)
            await self._application(scope, receive, _with_headers(send, cookies))
        else:
            await _answer(refusal, _with_headers(send))

    def _wrong_host(self, headers: Headers) -> Refusal | None:
        hosts = headers.get(b"host", [])
        match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if match is not None and match["name"] in self._hosts:
            return None
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            "this host name is not allowed; JERSEY_UI_HOSTS lists the allowed ones",
        )

    async def _wrong_password(self, scope: Scope, headers: Headers) -> Refusal | None:
        if self._password is None:
            return None
        given = _password_in(headers)
        if given is not None:
            client = client_network(scope.get("client"))
            verdict = await self._password.judge(client, given, _token_in(headers))
            if verdict is Verdict.RIGHT:
                return None
            if verdict is Verdict.NOT_JUDGED:
                return Refusal(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "too many passwords are waiting to be checked; try again later",
                )
        return Refusal(HTTPStatus.UNAUTHORIZED, "the password is wrong or missing")

    def _cookies(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        if self._password is None or _token_in(headers) == self._password.token:
            return []
        cookie = f"{_COOKIE}={self._password.token}; Path=/; HttpOnly; SameSite=Strict"
        return [(b"set-cookie", cookie.encode())]


def _password_in(headers: Headers) -> bytes | None:
    """The password of the one HTTP Basic header, or None."""
    values = headers.get(b"authorization", [])
    # Several would be several guesses for the price of one.
    scheme, _, encoded = (values[0] if len(values) == 1 else "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:
        return None


def _token_in(headers: Headers) -> str:
    pairs = (pair for value in headers.get(b"cookie", []) for pair in value.split(";"))
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name.strip() == _COOKIE:
            return value.strip()
    return ""


def _from_another_page(scope: Scope, headers: Headers) -> Refusal | None:
    if set(headers.get(b"sec-fetch-site", [])) <= {"same-origin", "none"}:
        return None
    is_link = (
        scope.get("method") == "GET"
        and headers.get(b"sec-fetch-mode") == ["navigate"]
        and headers.get(b"sec-fetch-dest") == ["document"]
    )
    if is_link:
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "another site's page may only link here")


def _too_long(headers: Headers) -> Refusal | None:
    if b"transfer-encoding" in headers:
        return Refusal(HTTPStatus.LENGTH_REQUIRED, "the body's length is missing")
    # The server has refused lengths that are not numbers, or several that differ.
    if any(
        int(length) > MOST_BODY_BYTES for length in headers.get(b"content-length", [])
    ):
        return Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"a request may have at most {MOST_BODY_BYTES:,} bytes",
        )
    return None


def _wrong_origin(headers: Headers, required: bool) -> Refusal | None:
    (host,) = headers[b"host"]
    own = {f"{scheme}://{host.lower()}" for scheme in ("http", "https")}
    origins = headers.get(b"origin", [])
    if all(origin.lower() in own for origin in origins) and (origins or not required):
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "the Origin header is not this host")


def _wrong_method(scope: Scope, headers: Headers) -> Refusal | None:
    method = scope["method"]
    if method == "POST":
        types = headers.get(b"content-type", [])
        # Not "contains": `text/plain; application/json` needs no CORS permission.
        essences = [value.partition(";")[0].strip().lower() for value in types]
        if essences == ["application/json"]:
            return None
        return Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "POST accepts only application/json"
        )
    if method not in ("GET", "HEAD"):
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not allowed here")
    # Starlette's route for "/graphql" matches "/graphql\n" (%0A) as well.
    if scope["path"].strip().strip("/") == "graphql":
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL accepts only POST")
    return None


def _with_headers(send: Send, cookies: Iterable[tuple[bytes, bytes]] = ()) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message.get("headers", [])
                if name.lower() not in _HEADERS
            ]
            message["headers"] = [*kept, *_HEADERS.items(), _NO_FRAMING, *cookies]
        await send(message)

    return sending


async def _answer(refusal: Refusal, send: Send) -> None:
    body = f"{refusal.reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        # The rest of the request is not read.
        (b"connection", b"close"),
    ]
    if refusal.status is HTTPStatus.TOO_MANY_REQUESTS:
        headers.append((b"retry-after", b"10"))
    if refusal.status is HTTPStatus.UNAUTHORIZED:
        headers.append(_ASK_PASSWORD)
    start = {"type": "http.response.start", "status": int(refusal.status)}
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": body})
