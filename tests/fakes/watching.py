"""Watches a registry in the background, as a gateway does, and waits for what it should see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import urlsplit

from discovery.config import RegistryConfig
from discovery.consul.client import ConsulClient, Endpoint
from discovery.consul.watcher import ConsulWatcher
from discovery.instance import Snapshot, Watcher
from discovery.pace import TokenBucket


class Watched:
    """Every snapshot so far, and the next one that fits."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.snapshots: list[Snapshot] = []
        self._more = asyncio.Condition()

    @property
    def last(self) -> Snapshot:
        """The newest."""
        return self.snapshots[-1]

    async def run(self) -> None:
        """Collect until the watcher ends."""
        async for snapshot in self.watcher.snapshots():
            async with self._more:
                self.snapshots.append(snapshot)
                self._more.notify_all()

    async def until(self, fits: Callable[[Snapshot], object], seconds: float = 30) -> Snapshot:
        """The newest snapshot, as soon as it fits."""
        try:
            async with asyncio.timeout(seconds), self._more:
                await self._more.wait_for(lambda: self.snapshots and fits(self.last))
                return self.last
        except TimeoutError:
            raise AssertionError(f"not seen within {seconds} s; snapshots: {self.snapshots[-3:]}") from None


@asynccontextmanager
async def watching(watcher: Watcher) -> AsyncIterator[Watched]:
    """A watcher whose snapshots are being collected; closed at the end."""
    watched = Watched(watcher)
    task = asyncio.create_task(watched.run())
    try:
        yield watched
    finally:
        await watched.watcher.close()
        async with asyncio.timeout(10):
            await task


def hasty_consul(config: RegistryConfig) -> ConsulWatcher:
    """A watch of Consul that need not wait for its next token, for tests in which much happens."""
    parts = urlsplit(config.url)
    client = ConsulClient(Endpoint(parts.hostname or "", parts.port or 0, False), config)
    return ConsulWatcher(client, config, Random(1), TokenBucket(100, 100.0))
