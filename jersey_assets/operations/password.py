"""Checks the web page's password, and slows down guesses.

Passwords are checked one after the other, each client's with growing pauses after wrong
ones, and those of all clients together at a limited rate; right ones wait in the same
queues, since a quick answer would distinguish them from wrong ones. So that nobody can
lock the operator out by guessing, a browser that gave the right password before skips
both queues (it has a cookie for that, which opens nothing by itself), and an address
that the right password came from skips the queue of all clients.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from asyncio import Lock, sleep
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from time import monotonic

# A typo costs a moment, a dictionary years: 0.1, 0.2, 0.4, … 5 s.
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_FORGOTTEN_AFTER_S = 600.0
# At most 20 guesses a second from however many addresses.
_PAUSE_OF_ALL_S = 0.05
_WAITING_OF_ONE = 16
_WAITING_OF_ALL = 128
_CLIENTS = 4096


class Verdict(Enum):
    """What becomes of a request."""

    RIGHT = auto()
    WRONG = auto()
    NOT_JUDGED = auto()


@dataclass
class _Line:
    """A queue of requests whose passwords are checked one after the other."""

    first_pause_s: float = _FIRST_PAUSE_S
    longest_pause_s: float = _LONGEST_PAUSE_S
    known: bool = False
    waiting: int = 0
    _wrong: int = 0
    _wrong_at: float = 0.0
    _next_at: float = 0.0
    _turn: Lock = field(default_factory=Lock)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for its turn; the next one starts when this one has ended."""
        self.waiting += 1
        try:
            async with self._turn:
                await sleep(max(0.0, self._next_at - monotonic()))
                yield
        finally:
            self.waiting -= 1

    def note_wrong(self) -> None:
        """Lets the next one wait longer."""
        now = monotonic()
        if now - self._wrong_at > _FORGOTTEN_AFTER_S:
            self._wrong = 0
        pause = self.first_pause_s * 2 ** min(self._wrong, 30)
        self._wrong, self._wrong_at = self._wrong + 1, now
        self._next_at = now + min(pause, self.longest_pause_s)


class Password:
    """The password, and who has guessed how often."""

    def __init__(self, password: str) -> None:
        """Keeps a digest of the password."""
        self._digest = _digest(password.encode())
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._all = _Line(_PAUSE_OF_ALL_S, _PAUSE_OF_ALL_S)
        self.token = secrets.token_urlsafe(16)

    async def judge(self, client: str, given: bytes, token: str) -> Verdict:
        """Checks one password, when its turn comes.

        Args:
            client: the network that the request came from.
            given: the password.
            token: the cookie that the browser got for a right password, or "".
        """
        right = hmac.compare_digest(_digest(given), self._digest)
        if hmac.compare_digest(token.encode(), self.token.encode()):
            if right:
                return Verdict.RIGHT
            # A client with a token but not the password has one guess with it.
            self.token = secrets.token_urlsafe(16)
        own = self._line_of(client)
        if own.waiting >= _WAITING_OF_ONE:
            return Verdict.NOT_JUDGED
        async with own.turn():
            if not own.known:
                if self._all.waiting >= _WAITING_OF_ALL:
                    return Verdict.NOT_JUDGED
                async with self._all.turn():
                    if not right:
                        self._all.note_wrong()
            if right:
                own.known = True
                return Verdict.RIGHT
            own.note_wrong()
            return Verdict.WRONG

    def _line_of(self, client: str) -> _Line:
        line = self._lines.pop(client, None) or _Line()
        self._lines[client] = line
        if len(self._lines) > _CLIENTS:
            self._lines.popitem(last=False)
        return line


def client_network(client: tuple[str, int] | None) -> str:
    """The client behind an address: itself in IPv4, its /64 network in IPv6."""
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0] if client else "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped or ipaddress.ip_network((address, 64), strict=False))


def _digest(secret: bytes) -> bytes:
    # Digests have the same length, so that comparing them takes constant time.
    return hashlib.sha256(secret).digest()
