"""Runs a step again and again: at its own pace, and at once when something is to be settled now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress


class Keeper:
    """Repeats `step`, which returns the seconds until its next turn."""

    def __init__(self, step: Callable[[], Awaitable[float]], name: str) -> None:
        self._step = step
        self._name = name
        self._wake = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def settle(self, seconds: float) -> None:
        """Wait for a whole step that began from now on, but not longer than this; starts the loop.

        Returns when stopped meanwhile. Raises what a step raised: a fault of ours is no slow registry.
        """
        settled = asyncio.get_running_loop().create_future()
        self._waiting.append(settled)
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)
        ended, _ = await asyncio.wait({settled, self._task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in ended:
            if not one.cancelled():
                one.result()

    async def stop(self) -> None:
        """No more steps; one under way is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            waiting, self._waiting = self._waiting, []
            pause = await self._step()
            for settled in waiting:
                if not settled.done():
                    settled.set_result(None)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
