"""Connections to the target: idle ones first, new ones up to a limit, and whoever finds none waits in line."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic

from loadtest.openloop.address import Address
from loadtest.openloop.line import Line
from loadtest.openloop.shot import Shot
from loadtest.openloop.verdict import Verdict, lost

CONNECT_SECONDS = 5.0


class Pool:
    """Sends shots. With several addresses it stays with one until that refuses connections, as a balancer would."""

    def __init__(
        self,
        addresses: Sequence[Address],
        limit: int,
        ended: Callable[[Shot], None],
        *,
        headers: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`headers` are lines that every request carries."""
        self.addresses = list(addresses)
        self.limit = limit
        self.opened = 0
        self.held_back = 0  # requests that met the limit
        self._ended = ended
        self._headers = headers
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Shot] = deque()
        self._idle: deque[Line] = deque()
        self._lines: set[Line] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._head_of: dict[int, bytes] = {}
        self._empty = asyncio.Event()
        self.most = 0  # connections at once

    def send(self, shot: Shot) -> None:
        """On an idle connection if there is one, else on a new one or on the first that becomes free."""
        if self._idle:
            self._idle.pop().send(shot)
            return
        self._waiting.append(shot)
        if not self._open():
            self.held_back += 1

    def expire(self, before: float) -> None:
        """Give up what was due earlier than `before`."""
        for line in [line for line in self._lines if line.shot is not None and line.shot.due < before]:
            line.give_up("no answer in time")
        while self._waiting and self._waiting[0].due < before:
            self.ended(self._waiting.popleft(), lost("no free connection in time"))

    async def close(self) -> None:
        """Drop all connections; nothing may be in progress."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        self._empty.clear()
        for line in list(self._lines):
            line.close()
        if self._lines:
            await self._empty.wait()

    def free(self, line: Line) -> None:
        """It carries who waits longest."""
        if self._waiting:
            line.send(self._waiting.popleft())
        else:
            self._idle.append(line)

    def gone(self, line: Line) -> None:
        """Room for another one."""
        self._lines.discard(line)
        if not self._lines:
            self._empty.set()
        if line in self._idle:
            self._idle.remove(line)
        if self._waiting:
            self._open()

    def ended(self, shot: Shot, verdict: Verdict) -> None:
        """Hand over what has ended."""
        shot.ended = monotonic()
        shot.verdict = verdict
        self._ended(shot)

    def again(self, shot: Shot) -> None:
        """Send it once more, on a connection that nobody has had a reason to close."""
        shot.resent += 1
        self._start(self._connect(shot))

    def _open(self) -> bool:
        if len(self._lines) + len(self._opening) >= self.limit:
            return False
        self._start(self._connect())
        return True

    def _start(self, connecting: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(connecting)
        self._opening.add(task)
        self.most = max(self.most, len(self._lines) + len(self._opening))
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if self._waiting and not task.cancelled() and len(self._opening) < len(self._waiting):
            self._open()

    async def _connect(self, shot: Shot | None = None) -> None:
        """A new connection, for this shot or for whoever waits longest. Each failure ends one shot."""
        why = ""
        for address in list(self.addresses):
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    line = await self._line(address)
            except (OSError, TimeoutError) as error:
                why = f"no connection: {_words(error)}"
                self._prefer_others(address)
                continue
            self.opened += 1
            self._lines.add(line)
            if shot is None:
                self.free(line)
            else:
                line.send(shot)
            return
        if shot is not None or self._waiting:
            self.ended(shot or self._waiting.popleft(), lost(why))

    async def _line(self, address: Address) -> Line:
        _, line = await self._loop.create_connection(
            lambda: Line(self, self._head), address.host, address.port, ssl=self._context
        )
        return line

    def _prefer_others(self, address: Address) -> None:
        if len(self.addresses) > 1 and self.addresses[0] == address:
            self.addresses.append(self.addresses.pop(0))

    def _head(self, shot: Shot) -> bytes:
        """The head is the same for every shot of a kind, so it is made once."""
        sendable = shot.sendable
        key = id(sendable)  # sendables live as long as their mix
        if key not in self._head_of:
            first = self.addresses[0]
            path = first.path if first.path and sendable.path.startswith("/v1/predict") else sendable.path
            self._head_of[key] = (
                f"POST {path} HTTP/1.1\r\nHost: {first.authority}\r\nUser-Agent: fleetgate-load\r\n"
                f"{sendable.headers}{self._headers}Content-Length: {len(sendable.body)}\r\n\r\n"
            ).encode("latin-1")
        return self._head_of[key]


def _words(error: OSError | TimeoutError) -> str:
    """Without addresses and numbers, so that the same reason is counted together."""
    if isinstance(error, TimeoutError):
        return f"nothing for {CONNECT_SECONDS:g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return error.strerror or str(error) or type(error).__name__
