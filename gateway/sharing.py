"""A stream to every node of ours, on which it says whom else it serves and we ask for its slots.

The other end is node/granting.py, the words are in wire/grants.py. A node without such a stream is foreign: its load
reports must do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from random import Random
from secrets import token_hex
from typing import cast

import httptools

from gateway.backend import Backend
from gateway.fleet import Fleet
from gateway.grants import PATIENCE, Grants
from gateway.lease import Lease
from gateway.node_pool import Pool
from wire.errors import NodeUnreachable
from wire.grants import (
    BEAT_SECONDS,
    GATEWAY,
    LONGEST,
    PATH,
    SILENT_SECONDS,
    Asking,
    Beat,
    Granting,
    No,
    Others,
    Yes,
    encode,
    read_granting,
)

_log = logging.getLogger("gateway.sharing")
# Seconds until a stream is opened again: after one that spoke, at most to a node of ours, and at most to a foreign one.
_AGAIN, _AGAIN_MOST, _FOREIGN = 0.1, 5.0, 60.0
_CONNECT_SECONDS = 1.0


class Line(asyncio.Protocol):
    """One stream: lines out as chunks of a request that does not end, lines in from an answer that does not either."""

    def __init__(self, head: bytes, heard: Callable[[Granting], None]) -> None:
        self._head = head
        self._heard = heard
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self.over = asyncio.get_running_loop().create_future()
        self.spoke_at = time.monotonic()
        self.spoke = False  # it said what only a node of ours says
        self.status = 0

    def say(self, message: Asking) -> bool:
        """False when nobody hears it."""
        if self._transport is None or self._transport.is_closing() or self.status != 200:
            return False
        if self._transport.get_write_buffer_size() > LONGEST:
            self.close()  # it speaks and does not listen: what it is told would pile up here
            return False
        line = encode(message)
        self._transport.write(b"%x\r\n%b\r\n" % (len(line), line))
        return True

    def close(self) -> None:
        """End it: the node takes back what it granted."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Lines, or what ends the stream."""
        self.spoke_at = time.monotonic()
        try:
            self._parser.feed_data(data)
            *lines, self._rest = self._rest.split(b"\n")
            if len(self._rest) > LONGEST:
                raise ValueError("a line without end")
            said = [read_granting(line) for line in lines]
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
            self.close()
            return
        for message in said:
            self.spoke = True
            self._heard(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        if not self.over.done():
            self.over.set_result(None)

    def on_headers_complete(self) -> None:
        """httptools calls these."""
        self.status = self._parser.get_status_code()
        if self.status != 200:
            self.close()

    def on_body(self, data: bytes) -> None:
        """Part of a line, or several."""
        self._rest += data

    def on_message_complete(self) -> None:
        """The node has closed it politely."""
        self.close()


class Sharing:
    """All streams. `decided` is told what came of an ask, `changed` that a node's load has."""

    def __init__(self, fleet: Fleet, pool: Pool, rng: Random) -> None:
        self._fleet = fleet
        self._pool = pool
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self.grants = Grants(token_hex(8), self._send)  # not by `rng`: workers may share its seed
        self.decided: Callable[[Lease, bool], None]
        self.changed: Callable[[], None]
        self._lines: dict[str, Line] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beat: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    def follow(self, joined: Iterable[Backend], left: Iterable[Backend]) -> None:
        """Open streams to those who joined, close those of who left."""
        for backend in left:
            task = self._tasks.pop(backend.id, None)
            if task is not None:
                task.cancel()
        for backend in joined:
            if backend.instance.protocol == "fleetgate":
                self._tasks[backend.id] = self._loop.create_task(self._keep(backend))
        if self._tasks and self._beat is None:
            self._beat = self._loop.call_later(BEAT_SECONDS, self._beats)

    async def close(self) -> None:
        """Close all streams."""
        for timer in (self._beat, self._look):
            if timer is not None:
                timer.cancel()
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, backend: Backend) -> None:
        """One stream after another to one node, until cancelled."""
        pause = _AGAIN
        while True:
            line = Line(self._head(backend), lambda said: self._hear(backend.id, said))
            try:
                await self._pool.dial(line, backend.instance, _CONNECT_SECONDS)
                self._lines[backend.id] = line
                await line.over
            except NodeUnreachable:
                pass
            finally:
                line.close()
                if self._lines.pop(backend.id, None) is not None:
                    self._lost(backend.id)
            pause = next_pause(pause, line.status, spoke=line.spoke)
            await asyncio.sleep(pause * (0.5 + self._rng.random()))

    def _head(self, backend: Backend) -> bytes:
        return (
            f"POST {PATH} HTTP/1.1\r\nHost: {backend.instance.address}\r\n{GATEWAY}: {self.grants.gateway}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode()

    def _send(self, node: str, message: Asking) -> bool:
        line = self._lines.get(node)
        if line is None or not line.say(message):
            return False
        if self._look is None:
            self._look = self._loop.call_later(PATIENCE, self._look_for_late)
        return True

    def _hear(self, node: str, said: Granting) -> None:
        if isinstance(said, Others):
            self._fleet.shared(node, said, time.monotonic())
            self.changed()
        elif isinstance(said, Yes | No):
            lease = self.grants.answered(node, said)
            if lease is not None:
                self.decided(lease, isinstance(said, Yes))

    def _lost(self, node: str) -> None:
        self._fleet.unshared(node, time.monotonic())
        for lease in self.grants.lost(node):
            self.decided(lease, False)
        self.changed()

    def _look_for_late(self) -> None:
        self._look = None
        now = time.monotonic()
        for lease in self.grants.overdue(now):
            self._fleet.refused(lease.backend, now)
            self._fleet.settle(lease.backend)
            self.decided(lease, False)
        if self.grants.open and self._look is None:
            self._look = self._loop.call_later(PATIENCE / 2, self._look_for_late)

    def _beats(self) -> None:
        """Say that we are there; end what is silent: the node may be gone without a goodbye."""
        now = time.monotonic()
        for node, line in list(self._lines.items()):
            if now - line.spoke_at > SILENT_SECONDS:
                _log.warning("a node's stream is silent", extra={"fields": {"node": node}})
                line.close()
            else:
                line.say(Beat())
        self._beat = self._loop.call_later(BEAT_SECONDS, self._beats)


def next_pause(before: float, status: int, *, spoke: bool) -> float:
    """Seconds until a stream is opened again, after one that was answered so (0: not at all) and a pause `before`.

    Foreign servers may answer 200 to anything: asked every 5 s, 200 of them cost a hundredth of a core.
    """
    if spoke:
        return _AGAIN
    if status in (404, 405):
        return _FOREIGN
    foreign = 200 <= status < 500
    return min(4 * before, _FOREIGN) if foreign else min(2 * before, _AGAIN_MOST)
