"""The public listener's connections: aiohttp's low-level server with caps, deadlines and a drain that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server as LowLevelServer

from gateway import answers
from gateway.admission import ConnectionCap
from gateway.config import Limits
from gateway.connection import Connection
from gateway.exchange import Exchange
from gateway.reading import RequestHeads
from wire import ids
from wire.errors import QueueFull, QuotaExceeded, WireError
from wire.headers import REQUEST_ID

_log = logging.getLogger("gateway.server")
_C_PARSER = "aiohttp._http_parser"
# aiohttp's private names that gateway/incoming.py, gateway/connection.py and gateway/body.py stand on.
_RELIED_UPON = {
    RequestHandler: frozenset(
        {"_messages", "_waiter", "_parser", "_request_count", "_force_close", "_buffer_paused", "_max_msg_queue_size"}
    ),
    StreamReader: frozenset({"_buffer"}),
}
_SWEEPS_PER_DEADLINE = 8
_LONGEST_SWEEP = 0.5
_PER_BREATH = 128
# How long a client that connected just before we began to leave may take to say something.
_GRACE_SECONDS = 1.0


class UnfitAiohttp(Exception):
    """The aiohttp at hand must not serve the public."""


def check_aiohttp() -> None:
    """Refuse to start weaker or slower than tested; raises UnfitAiohttp."""
    if HttpRequestParser.__module__ != _C_PARSER:
        raise UnfitAiohttp(
            "aiohttp came without its C parser, and its Python parser is lax and slow: install the wheel"
        )
    missing: set[str] = set()
    for kind, names in _RELIED_UPON.items():
        missing |= names - {name for base in kind.__mro__ for name in getattr(base, "__slots__", ())}
    if missing:
        raise UnfitAiohttp(f"aiohttp has changed inside ({', '.join(sorted(missing))}): install the tested 3.14")


class Server(LowLevelServer):
    """Makes a Connection for every client, ends what is overdue, and can leave politely."""

    def __init__(self, handle: Callable[[Exchange], Awaitable[None]], limits: Limits, cap: ConnectionCap) -> None:
        super().__init__(handle, handler_cancellation=True)  # type: ignore[arg-type] # our own handler, our own exchange
        self.handle = handle
        self.limits = limits
        self.cap = cap
        self.heads = RequestHeads()
        self.draining = False
        self.grace_seconds = _GRACE_SECONDS  # while draining: for whoever is idle
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()

    def __call__(self) -> Connection:
        """A protocol for one accepted connection."""
        return Connection(self, self._loop)

    def enter(self, client: str) -> bytes | None:
        """Count a connection, or the answer that turns it away."""
        full = self.cap.enter(client)
        if not full:
            return None
        headers = {"Retry-After": "1"}
        error: WireError
        if full == "client":
            error = QuotaExceeded("your address has too many connections open", headers=headers)
        else:
            error = QueueFull("too many connections are open", headers=headers)
        request_id = ids.request_id(None)
        status, fields, body = answers.problem(error, request_id)
        lines = f"{REQUEST_ID}: {request_id}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        return answers.head(status, fields, lines) + body

    def joined(self, connection: Connection) -> None:
        """A connection that entered is open."""
        self._open.add(connection)

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self.cap.leave(connection.client)
        if self.draining and not self._open:
            self._empty.set()

    def log_failure(self, connection: Connection) -> None:
        """Something broke that no request stands for; it must never happen."""
        _log.exception("connection failed", extra={"fields": {"client": connection.client}})

    async def keep_deadlines(self) -> None:
        """Look at every connection several times per shortest deadline, until cancelled."""
        limits = self.limits
        shortest = min(limits.header_seconds, limits.body_idle_seconds, limits.keepalive_seconds, limits.write_seconds)
        period = min(_LONGEST_SWEEP, shortest / _SWEEPS_PER_DEADLINE)
        while True:
            await asyncio.sleep(period)
            for number, connection in enumerate(list(self._open)):
                if number % _PER_BREATH == 0:
                    await asyncio.sleep(0)  # ten thousand at once would keep a request waiting
                connection.overdue(time.monotonic())

    def hurry(self) -> None:
        """While draining: close idle connections now."""
        self.grace_seconds = _GRACE_SECONDS
        for connection in list(self._open):
            connection.retire()

    async def drain(self, seconds: float, grace: float = 0.0) -> bool:
        """Finish every request that has begun to come, at most for `seconds`; whether all were finished.

        From now on every answer closes its connection. Idle connections are closed at once, or, with a `grace` in
        seconds, when they were idle for so long: a client that sends its next request while we close would lose it.
        The listening socket must be closed by the caller before.
        """
        self.draining = True
        if grace:
            self.grace_seconds = grace
        else:
            self.hurry()
        if not self._open:
            return True
        self._empty.clear()  # it may have been for a moment, while the door was still open
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._open):
                connection.abort()
            return False
        return True
