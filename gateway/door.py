"""The public door: takes in clients, plain or by TLS, until it is closed.

By TLS a client is nobody until its handshake is done, and asyncio tells no one about it before. So those are accepted
here by hand: counted, few per address, timed, and what fails is counted too and never logged. By hand, too, where
several processes accept from one socket: so that each can leave the next client to another that has fewer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.admission import ConnectionCap

# Accepted in one breath; the rest waits in the kernel while requests have their turn.
_PER_BREATH = 16
_LAST_HANDSHAKES_SECONDS = 1.0
# Without file descriptors accepting fails at once, over and over.
_OUT_OF_FILES_SECONDS = 0.5
_FAREWELL_SECONDS = 2.0  # for the client's goodbye to ours
# A client is left to somebody else so often and so long; then it is ours after all.
_DEFERRALS, _DEFERRAL_SECONDS = 5, 0.002

Factory = Callable[[], asyncio.Protocol]


class Door:
    """Plain HTTP."""

    def __init__(self, sockets: Sequence[socket.socket], factory: Factory) -> None:
        self._sockets = sockets
        self._factory = factory
        self._servers: list[asyncio.Server] = []

    @property
    def entering(self) -> int:
        """Clients that are no connections yet: the event loop makes them so at once."""
        return 0

    async def open(self, backlog: int) -> None:
        """Take in clients from now on."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._servers.append(await loop.create_server(self._factory, sock=sock, backlog=backlog))

    def close(self) -> None:
        """Nobody comes in any more; the sockets are closed."""
        for server in self._servers:
            server.close()

    async def closed(self) -> None:
        """Wait until everybody who came in is a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How clients are taken in by hand."""

    cap: ConnectionCap  # of clients that are no connections yet
    failures: Counter[str]  # those that came to nothing, by reason
    context: ssl.SSLContext | None = None  # none: plain HTTP
    handshake_seconds: float | None = None
    ours: Callable[[], bool] = lambda: True  # whether the next client is ours rather than another process's


class HandDoor:
    """HTTPS, or one of several doors on the same socket."""

    def __init__(self, sockets: Sequence[socket.socket], factory: Factory, manner: Manner) -> None:
        self._sockets = sockets
        self._factory = factory
        self._manner = manner
        self._tasks: set[asyncio.Task[None]] = set()
        self._deferred = 0
        self._open = False

    @property
    def entering(self) -> int:
        """Clients that are no connections yet."""
        return len(self._tasks)

    async def open(self, backlog: int) -> None:  # noqa: ARG002 # the sockets listen already
        """Take in clients from now on."""
        self._open = True
        for sock in self._sockets:
            self._attend(sock)

    def close(self) -> None:
        """Nobody comes in any more; handshakes under way are finished; the sockets are closed."""
        self._open = False
        sockets, self._sockets = self._sockets, ()
        for sock in sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    async def closed(self) -> None:
        """Wait until everybody who came in is a connection, or has been given the time for it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_HANDSHAKES_SECONDS)

    def _attend(self, sock: socket.socket) -> None:
        if self._open:
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_PER_BREATH):
            if self._defers():
                loop.remove_reader(listener)
                loop.call_later(_DEFERRAL_SECONDS, self._attend, listener)
                return
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._deferred = 0
                return
            except OSError:
                loop.remove_reader(listener)
                loop.call_later(_OUT_OF_FILES_SECONDS, self._attend, listener)
                return
            client = str(peer[0])
            if self._manner.cap.enter(client):
                self._manner.failures["too_many"] += 1
                sock.close()
                continue
            sock.setblocking(False)
            task = loop.create_task(self._greet(sock, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _defers(self) -> bool:
        if self._manner.ours() or self._deferred >= _DEFERRALS:
            self._deferred = 0
            return False
        self._deferred += 1
        return True

    async def _greet(self, sock: socket.socket, client: str) -> None:
        manner = self._manner
        secure = manner.context is not None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory,
                sock,
                ssl=manner.context,
                ssl_handshake_timeout=manner.handshake_seconds if secure else None,
                ssl_shutdown_timeout=_FAREWELL_SECONDS if secure else None,
            )
        except OSError as error:
            manner.failures[_reason(error)] += 1
        finally:
            manner.cap.leave(client)


def _reason(error: OSError) -> str:
    """A bounded word for a metric."""
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason)
        if "HTTP" in reason or reason == "WRONG_VERSION_NUMBER":
            return "not_tls"
        return "certificate" if "CERTIFICATE" in reason or "CERT" in reason else "protocol"
    return "timeout" if "longer than" in str(error) else "gone"
