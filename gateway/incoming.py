"""What a client sends becomes requests: by aiohttp's parser (in C), or without it where a head came before.

A broken chunk ends the body instead of hanging its reader; whatever is no request becomes one with a fault, and the API
answers it like any other. It relies on private names of aiohttp, which server.check_aiohttp looks for.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from gateway import strict
from gateway.exchange import Exchange
from gateway.head_memo import LONGEST_HEAD
from gateway.reading import RequestHead, split
from wire.errors import BadRequest, HeadersTooLarge, WireError

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

    from gateway.server import Server

_READ_BYTES = 131072
# "POST " and " HTTP/1.1\r\n" stand around the target; the parser counts the target alone.
_AROUND_TARGET = 16
# A client whose heads were all new so many times in a row is not looked up any more.
_NEW_HEADS = 8


class Incoming(RequestHandler):
    """The reading half of a connection: in `_messages` are Exchanges whose turn has not come.

    Times are monotonic seconds.
    """

    __slots__ = (
        "_deaf",
        "_head_bytes",
        "_head_since",
        "_incoming",
        "_left",
        "_limits",
        "_new_heads",
        "_owed",
        "_server",
        "client",
        "heard",
    )

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        limits = server.limits
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=0,  # ours: see Connection.overdue
            lingering_time=0,
            access_log=None,  # type: ignore[arg-type] # None is what turns it off
            max_line_size=limits.request_line_bytes - _AROUND_TARGET,
            max_field_size=limits.header_bytes,
            max_headers=limits.header_count,
            read_bufsize=_READ_BYTES,
            auto_decompress=False,
        )
        self._server = server
        self._limits = limits
        self._deaf = False  # nothing more is read as HTTP
        self._head_bytes = 0
        self._head_since = 0.0  # 0: no part of a head is here
        self._incoming: StreamReader = EMPTY_PAYLOAD  # the body now coming
        self._left = 0  # bytes still to come of a body whose head was known, so that the parser has not seen it
        # In a row. A head of the memory must not be longer than our limit.
        self._new_heads = 0 if limits.headers_bytes >= LONGEST_HEAD else _NEW_HEADS
        # Bytes after which the parser is known to hold nothing and to expect a message; below 0 nobody knows any more.
        # Only at 0 may a head pass it by: what it holds would be put before the next head that it sees.
        self._owed = 0
        self.client = ""
        self.heard = 0.0

    def data_received(self, data: bytes) -> None:
        """Parse what came. Called by resume_reading with nothing, too."""
        if self._force_close or self._deaf or self._parser is None:
            return
        now = self.heard = time.monotonic()
        if self._left:
            self._more_came(data)
            return
        waiter = self._waiter
        provable = not self._owed and self._new_heads < _NEW_HEADS
        if provable and waiter is not None and not waiter.done() and self._known_came(data, now):
            return
        self._owed -= len(data)
        in_body = not self._incoming.is_eof()
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception as error:  # the parser's own, and what URL or text decoding raise below it
            self._not_http(error)
            return
        if messages:
            self._requests_came(messages, data, now, provable)
        elif not in_body and data:
            self._head_bytes += len(data)
            self._head_since = self._head_since or now
            if self._head_bytes > self._limits.request_line_bytes + self._limits.headers_bytes and not self._messages:
                self._refuse(HeadersTooLarge(f"all headers together may hold {self._limits.headers_bytes} bytes"))
        if upgraded:
            self._deaf = True  # what follows would be another protocol, and we change to none

    def pause_reading(self) -> None:
        """A body is read more slowly than it comes."""
        if self._left:  # the parser knows nothing of it
            self._reading_paused = True
            self._pause_transport_reading()
        else:
            super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called by every read of a body; nearly always there is nothing to resume."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _known_came(self, data: bytes, now: float) -> bool:
        """Begin the next request without the parser, if its head came before; whether it did."""
        found = self._server.heads.find(data, self.client)
        if found is None:
            self._new_heads += 1
            return False
        head, varying, size, begin = found
        self._new_heads = 0
        self._request_count += 1
        if len(data) == begin + size:
            self._incoming = EMPTY_PAYLOAD
            self._enqueue(Exchange(head, varying, EMPTY_PAYLOAD, now, whole=data[begin:]))
            self._wake()
        else:
            payload = self._incoming = StreamReader(self, _READ_BYTES, loop=self._loop)
            self._enqueue(Exchange(head, varying, payload, now))
            self._wake()  # before what follows the body: that is for the parser, which keeps count of the queue
            self._left = size
            self._more_came(data[begin:])
        return True

    def _more_came(self, data: bytes) -> None:
        """Part of the body of a request whose head was known, and perhaps what follows it."""
        left, payload = self._left, self._incoming
        piece, rest = (data, b"") if len(data) <= left else (data[:left], data[left:])
        payload.feed_data(piece)
        self._left = left - len(piece)
        if not self._left:
            payload.feed_eof()
            if rest:
                self.data_received(rest)

    def _requests_came(
        self, messages: list[tuple[RawRequestMessage, StreamReader]], data: bytes, now: float, provable: bool
    ) -> None:
        limit = self._limits.headers_bytes
        suspicious = self._head_bytes + len(data) > limit
        self._head_bytes = 0
        self._head_since = 0.0
        alone = provable and len(messages) == 1
        for message, payload in messages:
            self._request_count += 1
            self._incoming = payload
            if suspicious and strict.size(message.raw_headers) > limit:
                fault = HeadersTooLarge(f"all headers together may hold {limit} bytes", limit_bytes=limit)
                self._enqueue(Exchange(fault, {}, payload, now))
                continue
            repeating, varying = split(message.raw_headers)
            head = RequestHead(message, repeating)
            if alone:
                self._owed += self._server.heads.learn(data, self.client, message, head)
            self._enqueue(Exchange(head, varying, payload, now))
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
        self._enqueue(Exchange(error, {}, EMPTY_PAYLOAD, self.heard))
        self._wake()

    def _enqueue(self, exchange: Exchange) -> None:
        self._messages.append(exchange)  # type: ignore[arg-type] # the queue is ours: we overrode whoever reads it

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
