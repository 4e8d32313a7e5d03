"""One HTTP/1.1 connection to a node: requests out, answers in, one at a time, both ways with back-pressure.

After any doubt the connection is thrown away. Whatever arrives while nothing was asked could be taken for the next
request's answer: it ends the connection too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import cast
from weakref import ref

import msgspec

from gateway.node_answer import Answer, FieldRules, assemble
from gateway.node_reader import AnswerReader
from wire.errors import DeadlineMissed, NodeGarbage, NodeUnreachable

# Bytes waiting to be sent, above which a streamed body pauses.
WRITE_HIGH_BYTES = 256 * 1024


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one connection."""

    buffer_bytes: int  # answers up to this are handed over whole
    stall_seconds: float = 10.0  # a node that sends no byte of a long answer for this long has stopped


class ClosedUnanswered(NodeUnreachable):
    """The connection ended before any byte of an answer: on a reused one, it was closed while idle."""


Waiter = asyncio.Future[Answer]


class Shelf:
    """The idle connections to one node."""

    __slots__ = ("address", "connections", "most")

    def __init__(self, address: str, most: int) -> None:
        self.address = address  # as Host names it
        self.connections: list[Connection] = []
        self.most = most  # of them; 0 once the node has left


class Connection(asyncio.Protocol):
    """`ask` sends a request; its future is the answer. `settled(self)` is called when it is free again, or closed."""

    __slots__ = (
        "_drained",
        "_loop",
        "_options",
        "_reader",
        "_rest",
        "_settled",
        "_transport",
        "_waiter",
        "deadline",
        "idle_since",
        "open",
        "shelf",
        "uploading",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rules: FieldRules,
        options: ConnectionOptions,
        settled: Callable[[Connection], None],
        shelf: Shelf,
    ) -> None:
        self._loop = loop
        self._reader = AnswerReader(rules)
        self._options = options
        self._settled = settled
        self._transport: asyncio.Transport
        self._waiter: Waiter | None = None
        # Weak: a rest that nobody holds any more ends the connection.
        self._rest: ref[LongRest] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.deadline = 0.0  # of the exchange, on the loop's clock
        self.uploading = False  # more of the request is to come
        self.open = False
        self.shelf = shelf
        self.idle_since = 0.0

    def ask(self, head: bytes, body: Sequence[bytes], *, uploading: bool = False, echo: bool = False) -> Waiter:
        """Send a head and what is there of its body; `uploading` while more will be `write`n.

        The future is the answer, or NodeGarbage or ClosedUnanswered; `give_up` ends it early.
        `echo`: the node repeats request ids, so an answer with another one is not ours.
        """
        self._waiter = waiter = self._loop.create_future()
        self.uploading = uploading
        self._reader.begin(head, echo=echo)
        self._transport.writelines([head, *body])
        return waiter

    def write(self, parts: Sequence[bytes]) -> None:
        """More of the body that `ask` announced."""
        if self.open:
            self._transport.writelines(parts)

    async def drained(self) -> None:
        """Returns when the node has taken enough of what was written, or the connection is over."""
        if self._drained is not None:
            await self._drained

    @property
    def answered(self) -> bool:
        """Nothing more will be read of the request: the answer is here, or never will be."""
        return self._waiter is None or self._transport.is_closing()

    def give_up(self, waiter: Waiter, error: Exception) -> None:
        """End this exchange with an error, and the connection with it; nothing when it is over already."""
        # A timer or a cancelled task may come late: the connection can be at work for the next request by then.
        if self._waiter is waiter:
            self.fail(error)

    @property
    def awaited(self) -> bool:
        """An answer is waited for, until `deadline`."""
        return self._waiter is not None

    def fail(self, error: Exception) -> None:
        """End whatever is under way with this error, and the connection with it."""
        self.abort()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self._end_rest(error)

    def abort(self) -> None:
        """Close at once: the node sees that nobody waits any more."""
        self.open = False
        self._transport.abort()

    def resume(self) -> None:
        """Read on, after a long answer's pieces were taken."""
        if self.open:
            self._transport.resume_reading()

    # What the transport reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and with TLS also shaken hands."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or something nobody asked for."""
        if self._waiter is None and self._rest is None:
            self.abort()
            return
        reader = self._reader
        reader.feed(data)
        if reader.broken:
            self.fail(NodeGarbage(f"a node's answer is none: {reader.broken}"))
        elif reader.done:
            self._finish()
        elif reader.head_done and (self._rest is not None or reader.body_bytes > self._options.buffer_bytes):
            self._hand_on()

    def eof_received(self) -> None:
        """The node sends no more; the transport closes itself."""
        was_open, self.open = self.open, False
        # A body without length or chunks ends so; whatever else ends here is cut off.
        if was_open and not self._idle and self._reader.until_close:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by whomever."""
        self.open = False
        self.resume_writing()
        if exc is not None and self._waiter is not None:
            self._last_words()
        if not self._idle:
            why = f": {exc}" if exc else ""
            if self._reader.silent:
                self.fail(ClosedUnanswered(f"a node closed the connection without an answer{why}"))
            else:
                self.fail(NodeGarbage(f"a node broke off its answer{why}"))
        self._settled(self)

    def pause_writing(self) -> None:
        """More was written than the node takes."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has taken most of it, or never will."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # What follows from it

    @property
    def _idle(self) -> bool:
        return self._waiter is None and self._rest is None

    def _last_words(self) -> None:
        """A node that refuses a body and closes resets us while we still send: its answer may lie unread."""
        if self._transport.get_extra_info("sslcontext") is not None:
            return
        with contextlib.suppress(OSError):  # the transport closes the socket after this call
            descriptor = self._transport.get_extra_info("socket").fileno()
            while self._waiter is not None and (data := os.read(descriptor, 1 << 16)):
                self.data_received(data)

    def _finish(self) -> None:
        """The answer is whole: hand it over, and the connection to whoever is next."""
        waiter, self._waiter = self._waiter, None
        # Before `settled`: the next one may be asked in there.
        answer = self._answer(None) if waiter is not None else None
        keep = self._reader.keep and self.open and not self.uploading
        if keep and not self._transport.get_write_buffer_size():
            if self._rest is not None:
                self._end_rest(None)
            self.idle_since = self._loop.time()
            self._settled(self)
        else:
            self.abort()
            self._end_rest(None)
        if waiter is not None and answer is not None and not waiter.done():
            waiter.set_result(answer)

    def _hand_on(self) -> None:
        """A long answer: stop reading until somebody takes what is here."""
        self._transport.pause_reading()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            rest = LongRest(self, self._loop, self._options.stall_seconds)
            self._rest = ref(rest)
            waiter.set_result(self._answer(rest))
        elif self._rest is not None and (known := self._rest()) is not None:
            known.arrived(self._reader.take())
        else:
            self.abort()

    def _answer(self, rest: LongRest | None) -> Answer:
        reader = self._reader
        return assemble(reader.status, reader.headers, reader.special, reader.length, reader.take(), rest)

    def _end_rest(self, error: Exception | None) -> None:
        rest, self._rest = self._rest, None
        if rest is not None and (known := rest()) is not None:
            known.ended(self._reader.take(), error)


class LongRest:
    """The pieces of a long answer after its beginning: at most one read of the socket is held at a time."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self.pieces: list[bytes] = []
        self._connection: Connection | None = connection
        self._loop = loop
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> LongRest:
        return self

    async def __anext__(self) -> bytes:
        while not self.pieces:
            if self._error is not None:
                raise self._error
            if self._connection is None:
                raise StopAsyncIteration
            await self._more(self._connection)
        return self.pieces.pop(0)

    def arrived(self, pieces: list[bytes]) -> None:
        """More of it."""
        self.pieces += pieces
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ended(self, pieces: list[bytes], error: Exception | None) -> None:
        """The last of it; with an error it is not whole."""
        self._connection = None
        self._error = error
        self.arrived(pieces)

    def close(self) -> None:
        """Give it up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def __del__(self) -> None:
        # Forgotten half-way: the connection must not wait for a reader that is gone.
        self.close()

    async def _more(self, connection: Connection) -> None:
        self._waiter = self._loop.create_future()
        stalled = DeadlineMissed("a node stopped in the middle of its answer")
        timer = self._loop.call_later(self._stall_seconds, connection.fail, stalled)
        connection.resume()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()
