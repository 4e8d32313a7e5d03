"""Ends what nodes do not answer in time: one timer for all exchanges, since setting one for each costs more."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from math import inf

from gateway.node_connection import Connection
from wire.errors import DeadlineMissed

# Loops count in milliseconds: a timer may ring this much too early, in seconds.
_EARLY = 0.001


class Deadlines:
    """Looks at all open connections when the earliest deadline it was told of has come."""

    __slots__ = ("_at", "_loop", "_open", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, open_connections: AbstractSet[Connection]) -> None:
        self._loop = loop
        self._open = open_connections
        self._at = inf
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection, deadline: float) -> None:
        """This exchange may last until then, on the loop's clock."""
        connection.deadline = deadline
        if deadline < self._at:
            self._set(deadline)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, at: float) -> None:
        self.stop()
        self._at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._at, self._timer = inf, None
        now = self._loop.time() + _EARLY
        earliest = inf
        for connection in [one for one in self._open if one.awaited]:
            if connection.deadline <= now:
                connection.fail(DeadlineMissed("a node took the request and missed the deadline"))
            else:
                earliest = min(earliest, connection.deadline)
        if earliest < inf:
            self._set(earliest)
