"""One client's connection: aiohttp's request handler with its loop, deadlines and farewells made ours.

A request is handled without a task, a request and a response object of aiohttp's own; heads, uploads, answers nobody
reads and farewells have deadlines, all kept by one periodic call of `overdue`; a client that hung up is told from one
that only closed its sending side. What the client sends is read in gateway/incoming.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, cast

from gateway import answers, strict
from gateway.exchange import Exchange
from gateway.incoming import Incoming
from wire.errors import ClientGone, UploadStalled

if TYPE_CHECKING:
    from gateway.body import Body
    from gateway.server import Server

# How long after the client's FIN we look whether it is still there.
_PROBE_SECONDS = 0.01


class Connection(Incoming):
    """Requests of one client, one after another. Times are monotonic seconds; 0 means not now."""

    __slots__ = (
        "_finished",
        "_idle_since",
        "_lingering_until",
        "_served",
        "_stalled_since",
        "_unsent",
        "exchange",
        "upload",
    )

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop)
        self._served = 0  # requests, the present one included
        self._finished = False  # the client will send nothing more
        self._idle_since = time.monotonic()
        self._lingering_until = 0.0
        self._stalled_since = 0.0
        self._unsent = 0
        self.exchange: Exchange | None = None
        self.upload: Body | None = None

    # What exchanges use.

    @property
    def leaving(self) -> bool:
        """Whether the next answer is the connection's last."""
        last = self._finished and not self._messages
        return last or self._server.draining or self._served >= self._limits.keepalive_requests

    def write(self, data: bytes) -> None:
        """Send, or raise ClientGone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client went away")
        transport.write(data)

    def writelines(self, chunks: list[bytes]) -> None:
        """Send several pieces without joining them, or raise ClientGone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client went away")
        transport.writelines(chunks)

    async def drained(self) -> None:
        """Wait while the client reads more slowly than we write. Raises ClientGone."""
        if self._paused:
            try:
                await self._drain_helper()
            except ConnectionError:
                raise ClientGone("the client went away") from None

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    # The loop over requests.

    async def start(self) -> None:
        """Serve one request after another until the connection ends: the connection's only task."""
        refused_more = False
        try:
            while self._messages or await self._request_came():
                exchange = self.exchange = self._next()
                try:
                    await self._server.handle(exchange)
                    if self._paused:
                        await self.drained()
                except ClientGone:
                    break
                finally:
                    self.exchange = self.upload = None
                if not exchange.keep_alive:
                    refused_more = True
                    break
        except asyncio.CancelledError:
            self.force_close()
            raise
        except Exception:
            self._server.log_failure(self)
            self.force_close()
        self._leave(refused_more)

    async def _request_came(self) -> bool:
        if self._finished or self._deaf or (self._server.draining and not self._head_since):
            return False
        if self._owed:
            self.data_received(b"")  # the parser may have stopped before requests that it already has
            if self._messages:
                return True
        self._idle_since = time.monotonic()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return bool(self._messages)

    def _next(self) -> Exchange:
        self._served += 1
        exchange = cast(Exchange, self._messages.popleft())
        exchange.connection = self
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused:
            self._resume_reading_if_drained()
        return exchange

    def _leave(self, refused_more: bool) -> None:
        """Close such that what was sent can be read: a reset would destroy it on its way (RFC 9112 section 9.6)."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        more_may_come = refused_more or self._deaf or self._messages or not self._incoming.is_eof()
        self._deaf = True
        if self._finished or not more_may_come:
            transport.close()
            return
        if transport.can_write_eof():  # TLS has no half-closed connections: the answer's length tells its end
            with contextlib.suppress(OSError, RuntimeError):
                transport.write_eof()
        self._lingering_until = time.monotonic() + self._limits.linger_seconds
        self._reading_paused = self._buffer_paused = False
        self._resume_transport_reading()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, or tell it that it is one too many."""
        peer = transport.get_extra_info("peername")
        client = str(peer[0]) if isinstance(peer, tuple) else ""
        refusal = self._server.enter(client)
        if refusal is not None:
            self._force_close = True
            turned_away = cast(asyncio.Transport, transport)
            turned_away.write(refusal)
            turned_away.close()
            return
        self.client = client
        super().connection_made(transport)
        self._server.joined(self)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with contextlib.suppress(OSError):  # it is not TCP
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.write_seconds * 1000))

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone; whoever works for it is cancelled."""
        admitted = self.transport is not None or self._task_handler is not None
        super().connection_lost(exc)
        if admitted:
            self._server.leave(self)

    def eof_received(self) -> bool:  # type: ignore[override] # aiohttp's never keeps the connection open
        """The client closed its sending side: it may be gone, or may still wait for its answers."""
        done = self._lingering_until or (self.exchange is None and not self._messages)
        if self.ssl_context is not None or done:
            return False
        self._finished = True
        if not self._incoming.is_eof():
            self._incoming.set_exception(ClientGone("the body ended early"))
        exchange = self.exchange
        if exchange is not None and exchange.version != strict.HTTP_1_0 and not exchange.begun:
            # To a client that is gone this provokes a reset; to one that listens it is an interim answer like any.
            with contextlib.suppress(ClientGone):
                self.write(answers.CONTINUE)
            self._loop.call_later(_PROBE_SECONDS, self._end_if_gone)
        return True

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._stalled_since = time.monotonic()

    # Deadlines.

    def overdue(self, now: float) -> None:
        """End what takes too long. Called every fraction of a second."""
        if self.transport is None:
            return
        if self._paused:
            self._check_reader(now)
        if self._lingering_until:
            if now > self._lingering_until:
                self.transport.close()
        elif self.upload is not None:
            late = self.upload.late(now, self.heard)
            if late is not None:
                self.upload.fail(late)
        elif self.exchange is None and not self._messages:
            self._check_idle(now)
        if self._finished:
            self._end_if_gone()

    def retire(self) -> None:
        """Close if nothing is going on here and nothing has begun to come."""
        idle = self.exchange is None and not self._messages and not self._head_since
        if idle and self._request_count and self.transport is not None and not self._lingering_until:
            self.transport.close()

    def _check_reader(self, now: float) -> None:
        assert self.transport is not None
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._stalled_since = unsent, now
        elif now - self._stalled_since > self._limits.write_seconds:
            self.transport.abort()

    def _check_idle(self, now: float) -> None:
        assert self.transport is not None
        limits = self._limits
        if self._head_since:
            if now - self._head_since > limits.header_seconds and not self._deaf:
                self._refuse(UploadStalled(f"the head of a request may take {limits.header_seconds:g} s"))
            return
        idle = now - self._idle_since
        if idle > limits.keepalive_seconds or (self._server.draining and idle > self._server.grace_seconds):
            self.transport.close()

    def _end_if_gone(self) -> None:
        """After a reset from the client the socket is hung up in both directions."""
        transport = self.transport
        sock = None if transport is None else transport.get_extra_info("socket")
        if transport is None or sock is None or transport.is_closing():
            return
        poll = select.poll()
        poll.register(sock.fileno(), 0)
        if any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0)):
            transport.abort()
