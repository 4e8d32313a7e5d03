"""The public door: takes in clients, plain or by TLS, until it is closed.

By TLS a client is nobody until its handshake is done, and asyncio tells no one about it before. So those are accepted
here by hand: counted, few per address, timed, and what fails is counted too and never logged.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.admission import ConnectionCap

# Accepted in one breath; the rest waits in the kernel while requests have their turn.
_PER_BREATH = 16
_LAST_HANDSHAKES_SECONDS = 1.0
# Without file descriptors accepting fails at once, over and over.
_OUT_OF_FILES_SECONDS = 0.5
_FAREWELL_SECONDS = 2.0  # for the client's goodbye to ours

Factory = Callable[[], asyncio.Protocol]


class Door:
    """Plain HTTP."""

    def __init__(self, sockets: Sequence[socket.socket], factory: Factory) -> None:
        self._sockets = sockets
        self._factory = factory
        self._servers: list[asyncio.Server] = []

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


class TlsDoor:
    """HTTPS."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Factory,
        context: ssl.SSLContext,
        cap: ConnectionCap,
        handshake_seconds: float,
        failures: Counter[str],
    ) -> None:
        """`cap` bounds the handshakes under way; `failures` counts those that came to nothing, by reason."""
        self._failures = failures
        self._sockets = sockets
        self._factory = factory
        self._context = context
        self._cap = cap
        self._seconds = handshake_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False

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
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                loop.remove_reader(listener)
                loop.call_later(_OUT_OF_FILES_SECONDS, self._attend, listener)
                return
            client = str(peer[0])
            if self._cap.enter(client):
                self._failures["too_many"] += 1
                sock.close()
                continue
            sock.setblocking(False)
            task = loop.create_task(self._greet(sock, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _greet(self, sock: socket.socket, client: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=_FAREWELL_SECONDS,
            )
        except OSError as error:
            self._failures[_reason(error)] += 1
        finally:
            self._cap.leave(client)


def _reason(error: OSError) -> str:
    """A bounded word for a metric."""
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason)
        if "HTTP" in reason or reason == "WRONG_VERSION_NUMBER":
            return "not_tls"
        return "certificate" if "CERTIFICATE" in reason or "CERT" in reason else "protocol"
    return "timeout" if "longer than" in str(error) else "gone"
