"""An emulated node's end of the gateways' streams: the real credits (node/credits.py), as cheaply as can be."""

from __future__ import annotations

import asyncio
import time

from node.credits import Credits, Seat, Stay
from wire.grants import Beat, Granting, encode, read_asking, read_label

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


class Desk:
    """All streams of one node."""

    def __init__(self, slots: int, loop: asyncio.AbstractEventLoop) -> None:
        self._credits = Credits(slots)
        self._loop = loop
        self._streams: dict[Seat, asyncio.Transport] = {}
        self._settling = False
        self._timer: asyncio.TimerHandle | None = None

    def open(self, gateway: str, transport: asyncio.Transport) -> Seat:
        """A stream begins."""
        transport.write(HEAD)
        seat = self._credits.attach(gateway, time.monotonic())
        self._streams[seat] = transport
        self._settle_soon()
        return seat

    def hear(self, seat: Seat, lines: list[bytes]) -> None:
        """What a gateway says. Raises ValueError."""
        now = time.monotonic()
        for line in lines:
            said = read_asking(line)
            if isinstance(said, Beat):
                self._say(seat, said)
            self._credits.hear(seat, said, now)
        self._settle_soon()

    def close(self, seat: Seat) -> None:
        """A stream has ended."""
        del self._streams[seat]
        self._credits.detach(seat, time.monotonic())
        self._settle_soon()

    def arrive(self, label: str) -> Stay | None:
        """A request's head has come; None: it is refused."""
        stay = self._credits.arrive(read_label(label) if label else None, time.monotonic())
        self._settle_soon()
        return stay

    def leave(self, stay: Stay) -> None:
        """It is done."""
        self._credits.leave(stay, time.monotonic())
        self._settle_soon()

    def _say(self, seat: Seat, said: Granting) -> None:
        line = encode(said)
        self._streams[seat].write(b"%x\r\n%b\r\n" % (len(line), line))

    def _settle_soon(self) -> None:
        if self._credits.news and not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        now = time.monotonic()
        for seat, said in self._credits.settle(now):
            self._say(seat, said)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self._credits.next_wake()
        if wake < float("inf"):
            self._timer = self._loop.call_later(max(0.0, wake - now), self._settle)
