"""One HTTP/1.1 connection of the load generator, as lean as may be: one request at a time, read by httptools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol, cast

import httptools

from loadtest.openloop.shot import Shot
from loadtest.openloop.verdict import Verdict, judge, lost

LONGEST_ANSWER = 16 << 20  # bytes; whoever answers more to a photo answers rubbish
# A server may close an idle connection just as we write on it. RFC 9112 9.3.1 lets a client send again what met such
# a close; later than this after the send it was no coincidence, and the request counts as lost.
CROSSING_SECONDS = 0.5


class Owner(Protocol):
    """The pool."""

    def free(self, line: Line) -> None:
        """It may carry the next request."""

    def gone(self, line: Line) -> None:
        """It is closed."""

    def ended(self, shot: Shot, verdict: Verdict) -> None:
        """A request has its answer, or will have none."""

    def again(self, shot: Shot) -> None:
        """A request met a closing connection and wants another one."""


class Line(asyncio.Protocol):
    """A connection."""

    def __init__(self, owner: Owner, head: Callable[[Shot], bytes]) -> None:
        self._owner = owner
        self._head = head
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._body: list[bytes] = []
        self._size = 0
        self._used = False  # an answer has come on this connection before
        self._begun = self._framed = self._headed = False  # of the answer in progress
        self.shot: Shot | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def send(self, shot: Shot) -> None:
        """Put one request onto the wire."""
        self.shot = shot
        self._begun = False
        shot.sent = monotonic()
        self._transport.writelines([self._head(shot), shot.sendable.body])

    def close(self) -> None:
        """Without waiting for anybody."""
        self._transport.abort()

    def give_up(self, why: str) -> None:
        """End the request in progress without an answer."""
        shot, self.shot = self.shot, None
        self._transport.abort()
        if shot is not None:
            self._owner.ended(shot, lost(why))

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self.shot is None:  # a farewell such as 408 on an idle connection
            self._transport.abort()
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.give_up(f"rubbish instead of HTTP: {data[:30]!r}")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._owner.gone(self)
        shot, self.shot = self.shot, None
        if shot is None:
            return
        if self._headed and not self._framed:  # neither length nor chunks: the end of the connection ends the answer
            self._judge(shot)
        elif self._used and not self._begun and monotonic() - shot.sent < CROSSING_SECONDS:
            self._owner.again(shot)
        else:
            when = "in the middle of the answer" if self._begun else "before any answer"
            self._owner.ended(shot, lost(f"connection {'reset' if exc else 'closed'} {when}"))

    def on_message_begin(self) -> None:
        """httptools calls these."""
        self._body, self._size = [], 0
        self._framed = self._headed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Only what matters."""
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._framed = True
            case b"x-fleetgate-attempts" if self.shot is not None and value.isdigit():
                self.shot.attempts = int(value[:4])

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._headed = True

    def on_body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._size += len(data)
        if self._size <= LONGEST_ANSWER:
            self._body.append(data)
        elif self.shot is not None:
            self.give_up(f"an answer beyond {LONGEST_ANSWER >> 20} MiB")

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._parser.get_status_code() < 200:
            return  # informational: the answer is yet to come
        shot, self.shot = self.shot, None
        if shot is None:
            return
        self._used = True
        self._judge(shot)
        if self._parser.should_keep_alive() and not self._transport.is_closing():
            self._owner.free(self)
        else:
            self._transport.abort()

    def _judge(self, shot: Shot) -> None:
        sendable = shot.sendable
        verdict = judge(self._parser.get_status_code(), b"".join(self._body), sendable.label, sendable.best_label)
        self._owner.ended(shot, verdict)
