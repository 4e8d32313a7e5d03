"""One client's connection: aiohttp's handler with what it lacks for a port that strangers may reach.

A deadline for heads, an answer of ours to what is not HTTP, an end to bodies whose chunks break (aiohttp would let
their reader wait for ever), a bound on connections, and a timeout for answers that nobody reads.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage

from node.config import Limits
from node.strict import parser_refusal
from wire import ids
from wire.errors import CONTENT_TYPE, BadRequest, NodeBusy, WireError
from wire.headers import REFUSED, REQUEST_ID, RETRY_AFTER

SERVER_NAME = "fleetgate"
SPOKEN = web.RequestKey("SPOKEN", tuple)  # the HTTP version that the client claims
# aiohttp's private names that this file stands on.
_RELIED_UPON = frozenset({"_messages", "_waiter", "_current_request", "_force_close", "_close", "_keepalive"})
_NOT_HTTP = "UNKNOWN"  # aiohttp's stand-in for what it could not parse
_UNREAD_ANSWER_MS = 30_000


class UnfitAiohttp(Exception):
    """The aiohttp at hand must not serve."""


def check_aiohttp() -> None:
    """Refuse to start on a weaker aiohttp than tested; raises UnfitAiohttp."""
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise UnfitAiohttp("aiohttp came without its C parser, and its Python parser is lax: install the wheel")
    slots = {name for kind in web.RequestHandler.__mro__ for name in getattr(kind, "__slots__", ())}
    if missing := _RELIED_UPON - slots:
        raise UnfitAiohttp(f"aiohttp has changed inside ({', '.join(sorted(missing))}): install the tested 3.14")


def refusal(error: WireError, request_id: str) -> web.Response:
    """The one way in which an error becomes an answer."""
    headers = {"Content-Type": CONTENT_TYPE, REQUEST_ID: request_id, "Server": SERVER_NAME, **error.headers}
    if error.status == NodeBusy.status:
        headers.setdefault(RETRY_AFTER, "1")
    if error.retry_elsewhere:
        headers[REFUSED] = "busy" if isinstance(error, NodeBusy) else error.code
    return web.Response(status=error.status, body=error.body(request_id), headers=headers)


class _Quiet(logging.Filter):
    """aiohttp logs what a stranger sent, with a traceback; one line without either is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        record.args = ()
        record.levelno, record.levelname = logging.INFO, "INFO"
        return True


class Connections(web.Server):
    """All connections of a node's listener."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], limits: Limits) -> None:
        log = logging.getLogger("node.aiohttp")
        if not log.filters:
            log.addFilter(_Quiet())
        self.line_limit = limits.header_bytes
        super().__init__(
            handler,
            handler_cancellation=True,
            request_factory=self._request,
            access_log=None,
            logger=log,
            auto_decompress=False,
            keepalive_timeout=limits.keepalive_seconds,
            lingering_time=5.0,
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes + 1,  # another number, so that the parser's complaint tells which it was
            max_headers=limits.header_count,
        )
        self.limits = limits

    def __call__(self) -> web.RequestHandler:
        """A handler for a connection that was just accepted."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        spoken = message.version
        if message.method == _NOT_HTTP or spoken not in (HttpVersion10, HttpVersion11):
            message = message._replace(version=HttpVersion11)  # aiohttp would answer in whatever was claimed
        request = web.BaseRequest(message, payload, protocol, writer, task, self._loop)
        request[SPOKEN] = spoken
        return request

    @property
    def half_heads(self) -> int:
        """Connections on which a request has begun to arrive."""
        return sum(isinstance(each, Connection) and each.head_is_coming for each in self.connections)


class Connection(web.RequestHandler):
    """See the module."""

    __slots__ = ("_deadline", "_server", "head_since")

    def __init__(self, server: Connections, *, loop: asyncio.AbstractEventLoop, **options: object) -> None:
        super().__init__(server, loop=loop, **options)  # type: ignore[arg-type]
        self._server = server
        self._deadline: asyncio.TimerHandle | None = None
        self.head_since = 0.0  # monotonic, when the first byte of the latest head came

    @property
    def head_is_coming(self) -> bool:
        """Whether a request has begun to arrive and is not yet whole."""
        return self._deadline is not None and self.head_since > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client unless there are too many."""
        if len(self._server.connections) >= self._server.limits.connections:
            self._force_close = True
            transport.close()
            return
        super().connection_made(transport)
        self._expect_head()
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with suppress(OSError):  # it is not TCP
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_ANSWER_MS)

    def data_received(self, data: bytes) -> None:
        """Watch heads arrive, and bodies break."""
        idle = self._waiter is not None and not self._waiter.done()
        if idle and data and not self.head_is_coming:
            self.head_since = time.monotonic()
        super().data_received(data)
        if self._messages:
            self._end_broken_body()
        if self._waiter is not None and not self._waiter.done():
            if idle and data:
                self._expect_head()
        else:
            self._stop_watch()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client is gone."""
        self._stop_watch()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,  # noqa: ARG002
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer what is not HTTP in our own words, and log nothing of it."""
        response = refusal(parser_refusal(exc, self._server.line_limit), ids.request_id(None))
        response.force_close()
        return response

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._server.limits.header_seconds, self._head_is_late)

    def _stop_watch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._deadline = None
        if self._waiter is not None and not self._waiter.done():
            self.force_close()

    def _end_broken_body(self) -> None:
        """The parser gave up inside a body: its reader gets the error instead of waiting for ever."""
        request = self._current_request
        if request is None or isinstance(self._messages[-1][0], RawRequestMessage):
            return
        if not request.content.is_eof():
            self._messages.clear()
            self._close = True
            request.content.set_exception(BadRequest("the body's framing is malformed"))
