"""The guard before Dagster's webserver: who may talk to it, and how.

A browser sends requests to 127.0.0.1 for any page that it shows, and a name that an
attacker owns can be made to point there (DNS rebinding); Dagster's own webserver obeys
both, mutations sent by GET included. This is plain ASGI round any application, and
knows nothing of Dagster.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_HEADERS = {
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
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
    - `Origin`, where there is one, is that host; a WebSocket must have one.
    - POST carries `application/json`, which a page of another origin cannot send
      without being asked first (CORS), and `/graphql` takes nothing but POST.
    - With a password, HTTP Basic on every request; any user name.
    - No page may frame the answers.
    """

    def __init__(
        self, application: Application, hosts: Iterable[str], password: str | None
    ) -> None:
        """Guards an application.

        Args:
            application: what is called for requests that may pass.
            hosts: allowed host names, without port.
            password: None lets everyone in who can connect.
        """
        self._application = application
        self._hosts = frozenset(name.lower() for name in hosts)
        self._password = None if password is None else _digest(password.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or hands it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._application(scope, receive, send)
            else:  # before it is accepted, this is answered with 403
                await send({"type": "websocket.close", "code": 1008})
        elif refusal is None:
            await self._application(scope, receive, _with_headers(send))
        else:
            await _answer(refusal, _with_headers(send))

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        return (
            self._wrong_host(headers)
            or _wrong_origin(headers, required=scope["type"] == "websocket")
            or self._wrong_password(headers)
            or (_wrong_method(scope, headers) if scope["type"] == "http" else None)
        )

    def _wrong_host(self, headers: dict[bytes, list[str]]) -> Refusal | None:
        hosts = headers.get(b"host", [])
        match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if match is not None and match["name"] in self._hosts:
            return None
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            "this name is not served here; JERSEY_UI_HOSTS lists the names to allow",
        )

    def _wrong_password(self, headers: dict[bytes, list[str]]) -> Refusal | None:
        if self._password is None:
            return None
        for value in headers.get(b"authorization", []):
            scheme, _, encoded = value.partition(" ")
            try:
                decoded = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                continue
            given = _digest(decoded.partition(b":")[2])
            if scheme.lower() == "basic" and hmac.compare_digest(given, self._password):
                return None
        return Refusal(HTTPStatus.UNAUTHORIZED, "the password is wrong or missing")


def _wrong_origin(headers: dict[bytes, list[str]], required: bool) -> Refusal | None:
    (host,) = headers[b"host"]
    own = {f"{scheme}://{host.lower()}" for scheme in ("http", "https")}
    origins = headers.get(b"origin", [])
    if all(origin.lower() in own for origin in origins) and (origins or not required):
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "Origin is not this host")


def _wrong_method(scope: Scope, headers: dict[bytes, list[str]]) -> Refusal | None:
    method = scope["method"]
    if method == "POST":
        types = headers.get(b"content-type", [])
        # Not "contains": `text/plain; application/json` needs no CORS permission.
        essences = [value.partition(";")[0].strip().lower() for value in types]
        if essences == ["application/json"]:
            return None
        return Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "POST takes application/json only"
        )
    if method not in ("GET", "HEAD"):
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not served here")
    # Starlette's route for "/graphql" matches "/graphql\n" (%0A) as well.
    if scope["path"].strip().strip("/") == "graphql":
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL takes POST only")
    return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message.get("headers", [])
                if name.lower() not in _HEADERS
            ]
            message["headers"] = [*kept, *_HEADERS.items(), _NO_FRAMING]
        await send(message)

    return sending


async def _answer(refusal: Refusal, send: Send) -> None:
    body = f"{refusal.reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if refusal.status is HTTPStatus.UNAUTHORIZED:
        headers.append(_ASK_PASSWORD)
    start = {"type": "http.response.start", "status": int(refusal.status)}
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _digest(secret: bytes) -> bytes:
    # Digests have one length, so that comparing them takes one time.
    return hashlib.sha256(secret).digest()
