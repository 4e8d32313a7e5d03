"""One client's connection: aiohttp's request handler with its deadlines, refusals and farewells made ours.

aiohttp parses (in C) and holds back a client that sends faster than we read. What it does not do is here: a request
is handled without a task, a request and a response object of aiohttp's own; every error reaches the API, which
answers it like any other; a broken chunk ends the body instead of hanging its reader; heads, uploads, answers nobody
reads and farewells have deadlines, all kept by one periodic call of `overdue`; a client that hung up is told from one
that only closed its sending side. It relies on private names of aiohttp, which server.check_aiohttp looks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, cast

from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from gateway import answers, strict
from gateway.exchange import Exchange, Message
from wire.errors import BadRequest, ClientGone, HeadersTooLarge, UploadStalled, WireError

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

    from gateway.body import Body
    from gateway.server import Server

_READ_BYTES = 131072
# "POST " and " HTTP/1.1\r\n" stand around the target; the parser counts the target alone.
_AROUND_TARGET = 16
# How long after the client's FIN we look whether it is still there.
_PROBE_SECONDS = 0.01


class Connection(RequestHandler):
    """Requests of one client, one after another. Times are monotonic seconds; 0 means not now."""

    __slots__ = (
        "_deaf",
        "_finished",
        "_head_bytes",
        "_head_since",
        "_idle_since",
        "_incoming",
        "_limits",
        "_lingering_until",
        "_served",
        "_server",
        "_stalled_since",
        "_unsent",
        "client",
        "exchange",
        "heard",
        "upload",
    )

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        limits = server.limits
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=0,  # ours: see overdue
            lingering_time=0,
            access_log=None,  # type: ignore[arg-type] # None is what turns it off
            max_line_size=limits.request_line_bytes - _AROUND_TARGET,
            max_field_size=limits.header_bytes,
            max_headers=limits.header_count,
            read_bufsize=_READ_BYTES,
            auto_decompress=False,
        )
        self._server = server
        self._served = 0  # requests, the present one included
        self._limits = limits
        self._deaf = False  # nothing more is read as HTTP
        self._finished = False  # the client will send nothing more
        self._head_bytes = 0
        self._head_since = 0.0
        self._idle_since = time.monotonic()
        self._incoming: StreamReader = EMPTY_PAYLOAD  # the body now coming
        self._lingering_until = 0.0
        self._stalled_since = 0.0
        self._unsent = 0
        self.client = ""
        self.heard = 0.0
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
        self._idle_since = time.monotonic()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return bool(self._messages)

    def _next(self) -> Exchange:
        self._served += 1
        message, payload = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused:
            self._resume_reading_if_drained()
        return Exchange(self, message, payload, time.monotonic())  # type: ignore[arg-type] # what we put there

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

    def data_received(self, data: bytes) -> None:
        """Parse what came. Called by resume_reading with nothing, too."""
        if self._force_close or self._deaf or self._parser is None:
            return
        now = self.heard = time.monotonic()
        in_body = not self._incoming.is_eof()
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception as error:  # the parser's own, and what URL or text decoding raise below it
            self._not_http(error)
            return
        if messages:
            self._requests_came(messages, len(data))
        elif not in_body and data:
            self._head_bytes += len(data)
            self._head_since = self._head_since or now
            if self._head_bytes > self._limits.request_line_bytes + self._limits.headers_bytes and not self._messages:
                self._refuse(HeadersTooLarge(f"all headers together may hold {self._limits.headers_bytes} bytes"))
        if upgraded:
            self._deaf = True  # what follows would be another protocol, and we change to none

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

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called by every read of a body; nearly always there is nothing to resume."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

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

    # Turns of events.

    def _requests_came(self, messages: list[tuple[RawRequestMessage, StreamReader]], size: int) -> None:
        limit = self._limits.headers_bytes
        suspicious = self._head_bytes + size > limit
        self._head_bytes = 0
        self._head_since = 0.0
        for message, payload in messages:
            self._request_count += 1
            self._incoming = payload
            entry: Message = message
            if suspicious and strict.size(message.raw_headers) > limit:
                entry = HeadersTooLarge(f"all headers together may hold {limit} bytes", limit_bytes=limit)
            self._messages.append((entry, payload))  # type: ignore[arg-type] # aiohttp queues its own errors here
        self._wake()
        if not self._buffer_paused and len(self._messages) >= self._max_msg_queue_size:
            self._pause_reading_for_buffer()

    def _not_http(self, error: Exception) -> None:
        if not self._incoming.is_eof():
            self._deaf = True
            self._incoming.set_exception(BadRequest("the body's framing is malformed"))
            return
        too_long = error.args[1] if isinstance(error, LineTooLong) else None
        line_limit = str(self._limits.request_line_bytes - _AROUND_TARGET)
        self._refuse(strict.parser_refusal(str(error), None if too_long is None else str(too_long) == line_limit))

    def _refuse(self, error: WireError) -> None:
        self._deaf = True
        self._messages.append((error, EMPTY_PAYLOAD))  # type: ignore[arg-type] # aiohttp queues its own errors here
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

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
