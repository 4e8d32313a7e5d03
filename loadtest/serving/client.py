"""The one client for all: a closed loop that finds what a server can do, an open loop at a share of that.

It lives on one core by itself (pinned); the server may use all of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from time import monotonic, process_time

from loadtest.openloop.address import Address
from loadtest.openloop.generator import Generator
from loadtest.openloop.mix import Sendable
from loadtest.openloop.pool import Pool
from loadtest.openloop.results import Tally
from loadtest.openloop.shot import Shot
from loadtest.openloop.verdict import Kind
from loadtest.schedule import arrivals, steady

CORE = 0
Draw = Callable[[Random], Sendable]
Cpu = Callable[[], float]


class NeverReady(Exception):
    """A server did not come to serve; the last thing it said."""


class Seen:
    """What came back within a window. CPU seconds: the server's, all its processes, and the client's own."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.by_class: dict[str, Tally] = {}
        self.seconds = self.server_cpu = self.client_cpu = 0.0

    def count(self, shot: Shot) -> None:
        """One answer inside the window."""
        self.tally.count(shot)
        self.by_class.setdefault(shot.sendable.size_class, Tally()).count(shot)

    def begin(self, cpu: Cpu) -> None:
        """The window opens."""
        self.seconds, self.server_cpu, self.client_cpu = -monotonic(), -cpu(), -process_time()

    def end(self, cpu: Cpu) -> None:
        """The window closes."""
        self.seconds += monotonic()
        self.server_cpu += cpu()
        self.client_cpu += process_time()


@contextmanager
def pinned() -> Iterator[None]:
    """This process on its core; children started inside would inherit that."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def ready(target: Address, sendable: Sendable, seconds: float) -> None:
    """Wait for the first right answer. Raises NeverReady."""
    end, why = monotonic() + seconds, ""
    while monotonic() < end:
        found: list[Shot] = []
        generator = Generator(iter([Shot(sendable, 0.0, 0)]), found.append, end - monotonic())
        await generator.run(Pool([target], 1, generator.ended))
        assert found[0].verdict is not None
        if found[0].verdict.kind is Kind.ANSWERED:
            return
        why = found[0].verdict.why
        await asyncio.sleep(0.3)
    raise NeverReady(f"{target} never served: {why}")


async def closed(target: Address, draw: Draw, connections: int, warm: float, seconds: float, cpu: Cpu) -> Seen:
    """So many requests in flight all the time; what ended in the `seconds` after `warm` counts."""
    return await _Closed(target, draw, connections).run(warm, seconds, cpu)


class _Closed:
    def __init__(self, target: Address, draw: Draw, connections: int) -> None:
        self._draw, self._rng = draw, Random(1)
        self._connections = connections
        self._pool = Pool([target], connections, self._ended)
        self._seen: Seen | None = None
        self._open = 0
        self._goes_on = True
        self._over = asyncio.Event()

    async def run(self, warm: float, seconds: float, cpu: Cpu) -> Seen:
        for _ in range(self._connections):
            self._send()
        await asyncio.sleep(warm)
        seen = self._seen = Seen()
        seen.begin(cpu)
        await asyncio.sleep(seconds)
        seen.end(cpu)
        self._seen, self._goes_on = None, False
        await self._over.wait()
        await self._pool.close()
        return seen

    def _send(self) -> None:
        shot = Shot(self._draw(self._rng), monotonic(), 0)
        shot.fired = shot.due
        self._open += 1
        self._pool.send(shot)

    def _ended(self, shot: Shot) -> None:
        self._open -= 1
        if self._seen is not None:
            self._seen.count(shot)
        if self._goes_on:
            self._send()
        elif not self._open:
            self._over.set()


async def open_loop(target: Address, draw: Draw, rate: float, seconds: float, cpu: Cpu) -> Seen:
    """Arrivals as independent users make them (Poisson), timed from when each was due."""
    rng, seen = Random(2), Seen()
    shots = (Shot(draw(rng), due, phase) for due, phase in arrivals(steady(rate, seconds), rng))
    generator = Generator(shots, seen.count, patience=60.0)
    seen.begin(cpu)
    await generator.run(Pool([target], 256, generator.ended))
    seen.end(cpu)
    return seen
