"""The streams on which gateways ask for slots, and every request's way past the credits (node/credits.py decides).

The words are in wire/grants.py; the other end is gateway/sharing.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientError, web

from node.credits import Credits, Seat, Stay
from wire.errors import BadRequest, MethodNotAllowed, NodeBusy, WireError
from wire.grants import GATEWAY, LONGEST, SILENT_SECONDS, Beat, encode, read_asking, read_label

_MOST_STREAMS = 256
_LONGEST_NAME = 64
_MOST_UNSAID = 4096  # lines; a stream whose other end does not read them is over
_BEAT = encode(Beat())


class _Outlet:
    """What is to be said on one stream."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.filled = asyncio.Event()

    def put(self, line: bytes) -> None:
        self.lines.append(line)
        self.filled.set()

    async def take(self) -> bytes:
        """All that there is, once there is anything."""
        await self.filled.wait()
        self.filled.clear()
        said, self.lines = b"".join(self.lines), []
        return said


class Granting:
    """All streams of one node."""

    def __init__(self, credit: Credits) -> None:
        self.credits = credit
        self._outlets: dict[Seat, _Outlet] = {}
        self._streams: set[asyncio.Task[None]] = set()
        self._settling = False
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def stay(self, label: str | None) -> Iterator[Stay]:
        """Hold a credit while a request is here. Raises NodeBusy."""
        stay = self.credits.arrive(None if label is None else read_label(label), time.monotonic())
        self._settle_soon()
        if stay is None:
            raise NodeBusy("another gateway's request took the slot")
        try:
            yield stay
        finally:
            self.credits.leave(stay, time.monotonic())
            self._settle_soon()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """One stream, until either side ends it. Raises BadRequest, MethodNotAllowed or NodeBusy."""
        gateway = request.headers.get(GATEWAY, "")
        if request.method != "POST":
            raise MethodNotAllowed("a stream is opened by POST", headers={"Allow": "POST"})
        if not 0 < len(gateway) <= _LONGEST_NAME or not gateway.isalnum():
            raise BadRequest(f"{GATEWAY} names the gateway: up to {_LONGEST_NAME} letters and digits")
        if len(self._streams) >= _MOST_STREAMS:
            raise NodeBusy(f"{_MOST_STREAMS} gateways are here already")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        reading = asyncio.create_task(self._converse(request, response, gateway))
        self._streams.add(reading)
        try:
            await asyncio.wait([reading])
        finally:
            reading.cancel()
            self._streams.discard(reading)
        response.force_close()
        return response

    def close(self) -> None:
        """End all streams: the node is leaving."""
        for stream in self._streams:
            stream.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _converse(self, request: web.BaseRequest, response: web.StreamResponse, gateway: str) -> None:
        seat, outlet = self.credits.attach(gateway, time.monotonic()), _Outlet()
        self._outlets[seat] = outlet
        self._settle_soon()
        writing = asyncio.create_task(_write(response, outlet))
        try:
            await self._read(request, seat)
        except (TimeoutError, ValueError, ConnectionError, ClientError, WireError):
            pass  # it is silent, talks nonsense or is gone: whatever it was granted is taken back
        finally:
            writing.cancel()
            del self._outlets[seat]
            self.credits.detach(seat, time.monotonic())
            self._settle_soon()

    async def _read(self, request: web.BaseRequest, seat: Seat) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SILENT_SECONDS) as silence:
            outlet = self._outlets[seat]
            while seat in self.credits.seats and len(outlet.lines) < _MOST_UNSAID:
                line = await request.content.readline(max_line_length=LONGEST)
                if not line:
                    return
                silence.reschedule(loop.time() + SILENT_SECONDS)
                said = read_asking(line)
                if isinstance(said, Beat):
                    outlet.put(_BEAT)
                self.credits.hear(seat, said, time.monotonic())
                self._settle_soon()

    def _settle_soon(self) -> None:
        """Once for all that happens in one turn of the loop."""
        if self.credits.news and not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        now = time.monotonic()
        for seat, said in self.credits.settle(now):
            self._outlets[seat].put(encode(said))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self.credits.next_wake()
        if wake < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wake - now), self._settle)


async def _write(response: web.StreamResponse, outlet: _Outlet) -> None:
    while True:
        await response.write(await outlet.take())
