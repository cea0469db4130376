"""Limits of HTTP connections: how many there are, and how long a request may take.

uvicorn's own limit answers 503 to connections past it, but keeps them, however many,
and lets each of them take any time for its request.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from jersey_assets.operations.password import client_network

# A browser holds some seven connections for each tab of Dagster's page; a process may
# have 1,024 files open, and runs and logs need some of them.
MOST_CONNECTIONS = 512
MOST_OF_ONE_CLIENT = 128
# Dagster's page puts run config into URLs; cookies of other ports are sent too.
MOST_HEADER_BYTES = 64 * 1024
REQUEST_WITHIN_S = 20.0


class LimitedProtocol(H11Protocol):
    """HTTP with a limited number of connections, each with a deadline."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Accepts a connection, or closes it if there are too many."""
        super().connection_made(transport)
        own = client_network(self.client)
        others = [
            client_network(getattr(one, "client", None)) for one in self.connections
        ]
        if len(others) > MOST_CONNECTIONS or others.count(own) > MOST_OF_ONE_CLIENT:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Reads on."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Lets the clock run until a request's header is complete."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(
                REQUEST_WITHIN_S, self.transport.abort
            )

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
