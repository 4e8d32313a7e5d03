"""Steady load from several clients, which counts every answer and forgets none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

import aiohttp


class Load:
    """`async with Load(url, bodies) as load:` keeps `clients` requests going until the block ends.

    `statuses` counts answers, `answers` the bodies of good ones, `broken` what was no HTTP answer at all.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], clients: int = 6) -> None:
        self.url = url
        self.bodies = bodies
        self.clients = clients
        self.statuses: Counter[int] = Counter()
        self.answers: Counter[bytes] = Counter()
        self.problems: Counter[str] = Counter()
        self.broken: list[str] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._moved = asyncio.Condition()

    @property
    def sent(self) -> int:
        """Requests that have ended, one way or another."""
        return sum(self.statuses.values()) + len(self.broken)

    async def __aenter__(self) -> Load:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(self.clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._session.close()

    async def until(self, more: int) -> None:
        """Wait until `more` further requests have ended."""
        target = self.sent + more
        async with self._moved:
            await self._moved.wait_for(lambda: self.sent >= target)

    async def _client(self, number: int) -> None:
        turn = number
        while not self._stopping:
            await self._once(self.bodies[turn % len(self.bodies)])
            turn += 1
            async with self._moved:
                self._moved.notify_all()

    async def _once(self, body: bytes) -> None:
        try:
            async with self._session.post(self.url, data=body) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.broken.append(repr(error))
            return
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.answers[content] += 1
        else:
            self.problems[content.decode(errors="replace")[:300]] += 1
