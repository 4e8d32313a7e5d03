"""Requests to one node: at moments drawn beforehand, whatever becomes of those before, or as fast as it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from time import monotonic

import aiohttp

from loadtest.serving.one_node import OneNode

FAILED = 599  # the status of what got no answer


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was due (time.monotonic), how long until its answer, and which."""

    due: float
    ms: float
    status: int
    model: str


@dataclass(slots=True)
class Stream:
    """An open loop of one kind of request; `asked` grows as answers come."""

    node: OneNode
    bodies: Sequence[bytes]
    path: str = "/v1/predict"
    asked: list[Asked] = field(default_factory=list)

    async def run(self, per_second: float, rng: Random, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for what is open. Gaps are exponential."""
        bodies = cycle(self.bodies)
        due = monotonic()
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                due += rng.expovariate(per_second)
                await asyncio.sleep(max(0.0, due - monotonic()))
                group.create_task(self.one(next(bodies), due))

    async def saturate(self, clients: int, seconds: float) -> float:
        """Answers per second when `clients` ask one after the other."""
        end, bodies = monotonic() + seconds, cycle(self.bodies)

        async def ask() -> int:
            count = 0
            while monotonic() < end:
                await self.one(next(bodies), monotonic())
                count += 1
            return count

        return sum(await asyncio.gather(*(ask() for _ in range(clients)))) / seconds

    async def one(self, body: bytes, due: float) -> Asked:
        """Send one and note how it went."""
        status, model = FAILED, ""
        try:
            async with self.node.client.post(self.node.url(self.path), data=body) as answer:
                await answer.read()
                status, model = answer.status, answer.headers.get("X-Fleetgate-Model", "")
        except (aiohttp.ClientError, TimeoutError):
            pass
        asked = Asked(due, (monotonic() - due) * 1000, status, model)
        self.asked.append(asked)
        return asked

    def between(self, start: float, end: float) -> list[Asked]:
        """Those that were due in that time."""
        return [each for each in self.asked if start <= each.due < end]


def percentile(asked: Sequence[Asked], share: float) -> float:
    """Milliseconds; NaN of nothing."""
    times = sorted(each.ms for each in asked)
    return times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")


def errors(asked: Sequence[Asked]) -> int:
    """How many were not answered."""
    return sum(each.status != 200 for each in asked)
