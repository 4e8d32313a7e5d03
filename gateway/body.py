"""A request's body: read as it comes, counted, timed, held for replay as far as it is small enough."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiohttp.streams import StreamReader

from gateway.admission import ByteBudget
from gateway.config import Limits
from gateway.sizing import Look
from wire.errors import BadRequest, ClientGone, QueueFull, TooLarge, UploadStalled, WireError
from wire.sniff import Sniffed

# An upload's average rate is judged after this many seconds of waiting for it.
_RATE_AFTER = 10.0


class Body:
    """One body. `size` is what its head declared, None when it comes in chunks.

    It is read in up to three steps: `begin` shows it to a look until that has an opinion, `hold` receives it up to a
    number of bytes, iteration yields what is held and then the rest as it comes. It may be iterated again only while
    `replayable`. What its client does wrong is raised by whoever reads, and kept in `fault`: no node is to blame.
    """

    __slots__ = (
        "_budget",
        "_held",
        "_limits",
        "_payload",
        "_waited",
        "_waiting_since",
        "buffered",
        "complete",
        "fault",
        "received",
        "replayable",
        "size",
    )

    def __init__(self, payload: StreamReader, size: int | None, limits: Limits, budget: ByteBudget) -> None:
        self._payload = payload
        self._limits = limits
        self._budget = budget
        self._held = 0  # bytes counted in the budget
        self.replayable = True  # it can be sent once more from its first byte: none went by without being held
        self._waiting_since = 0.0  # monotonic seconds; 0: nobody waits for the client
        self._waited = 0.0  # seconds spent waiting for the client before now
        self.size = size
        self.buffered: list[bytes] = []
        self.complete = size == 0
        self.received = 0
        self.fault: WireError | None = None

    def arrive(self, whole: bytes | None) -> bool:
        """Take the body if it came `whole` with its head, as small ones do; whether it did."""
        if whole is None:
            payload = self._payload
            if not payload.is_eof():
                return False
            # Past its end nobody counts or holds back what is read: it is taken as it lies there, without joining it.
            pieces = list(payload._buffer) or [b""]
            payload._buffer.clear()
        else:
            pieces = [whole]
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        if size != self.size:  # what was declared was found short enough
            self._count(size)
            self._end()
        self.received, self.complete = size, True
        self._budgeted(size)
        self.buffered = pieces
        return True

    async def begin(self, look: Look) -> Sniffed:
        """Read until the look has an opinion, or the body ends; the opinion."""
        sniffed = None
        for chunk in self.buffered:
            sniffed = look.feed(chunk)
        while sniffed is None and not self.complete:
            chunk = await self._next()
            if chunk:
                self._hold(chunk)
                sniffed = look.feed(chunk)
        return sniffed or look.end()

    async def hold(self, most: int) -> None:
        """Receive the body until it is whole, or would exceed `most` bytes: then the rest is left to iteration."""
        if self.size is not None and self.size > most:
            return
        while not self.complete and self.received <= most:
            self._hold(await self._next())

    def release(self) -> None:
        """Let go of what is held."""
        self.buffered = []
        self._budget.give(self._held)
        self._held = 0

    def late(self, now: float, heard: float) -> UploadStalled | None:
        """The reason to give up, while the client is waited for. `heard`: when it last sent anything."""
        if not self._waiting_since:
            return None
        waited = self._waited + now - self._waiting_since
        if now - max(heard, self._waiting_since) > self._limits.body_idle_seconds:
            return UploadStalled(f"nothing came for {self._limits.body_idle_seconds:g} s")
        if waited > self._limits.body_seconds:
            return UploadStalled(f"an upload may take {self._limits.body_seconds:g} s")
        if waited > _RATE_AFTER and self._payload.total_bytes < waited * self._limits.body_rate:
            return UploadStalled(f"an upload must average {self._limits.body_rate} bytes a second")
        return None

    def fail(self, error: WireError) -> None:
        """The rest will not come: whoever reads it gets this error."""
        self._payload.set_exception(error)

    def __aiter__(self) -> AsyncIterator[bytes]:
        if not self.replayable:
            raise RuntimeError("a body that was not held cannot be sent again")
        return _Pass(self)

    async def pull(self) -> bytes:
        """The next bytes beyond what is held; b"" at the end. From now on it is not replayable."""
        while not self.complete:
            self.replayable = False
            if self.buffered:
                self.release()
            chunk = await self._next()
            if chunk:
                return chunk
        return b""

    def _hold(self, chunk: bytes) -> None:
        self._budgeted(len(chunk))
        self.buffered.append(chunk)

    def _budgeted(self, size: int) -> None:
        if not self._budget.take(size):
            self.fault = QueueFull("too many bytes are being uploaded at once", headers={"Retry-After": "1"})
            raise self.fault
        self._held += size

    async def _next(self) -> bytes:
        payload = self._payload
        try:
            chunk = payload.read_nowait() if payload.is_eof() else await self._wait()
        except WireError as error:
            self.fault = error
            raise
        except Exception as error:
            self.fault = ClientGone("the connection broke")
            raise self.fault from error
        return self._accept(chunk)

    def _accept(self, chunk: bytes) -> bytes:
        self._count(len(chunk))
        if self._payload.at_eof():
            self._end()
        return chunk

    def _count(self, size: int) -> None:
        self.received += size
        limit = self._limits.body_bytes
        if self.received > limit:
            self.fault = TooLarge(f"a body may hold {limit} bytes", limit_bytes=limit)
            raise self.fault

    async def _wait(self) -> bytes:
        """More bytes, without joining what came apart; counts the time that the client takes."""
        self._waiting_since = time.monotonic()
        try:
            if self.size is None:
                return await self._payload.readany()
            return (await self._payload.readchunk())[0]
        finally:
            self._waited += time.monotonic() - self._waiting_since
            self._waiting_since = 0.0

    def _end(self) -> None:
        self.complete = True
        if self.size is not None and self.received != self.size:
            self.fault = BadRequest("the body is shorter than its Content-Length")
            raise self.fault
        if self.replayable:
            self.size = self.received

    def __repr__(self) -> str:
        state = "complete" if self.complete else "coming"
        return f"<Body {state} {self.received}/{self.size} held {self._held}>"


class _Pass:
    """One reading of a body from its first byte."""

    __slots__ = ("_body", "_index")

    def __init__(self, body: Body) -> None:
        self._body = body
        self._index = 0

    def __aiter__(self) -> _Pass:
        return self

    async def __anext__(self) -> bytes:
        if self._index < len(self._body.buffered):
            self._index += 1
            return self._body.buffered[self._index - 1]
        chunk = await self._body.pull()
        if not chunk:
            raise StopAsyncIteration
        return chunk
