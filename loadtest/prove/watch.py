"""How the gateway sees its fleet, asked twenty times a second: the clock of noticing and recovering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any

import aiohttp
import msgspec

from loadtest.prove.fleet import Fleet

INTERVAL_SECONDS = 0.05
PATIENCE_SECONDS = 120.0


class Node(msgspec.Struct, frozen=True):
    """What matters of a node in `/api/fleet`."""

    id: str
    state: str
    usable: bool
    registry: str
    in_flight: int
    models: tuple[str, ...]
    speed: float


class Registry(msgspec.Struct, frozen=True):
    """What matters of the registry."""

    stale: str


class View(msgspec.Struct, frozen=True):
    """The gateway's word at one moment."""

    nodes: list[Node]
    registry: Registry

    def node(self, node_id: str) -> Node | None:
        """By its id; None when the gateway does not know it."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def healthy(self, node_id: str) -> bool:
        """Known, trusted and listed."""
        node = self.node(node_id)
        return node is not None and node.usable and node.state == "healthy" and node.registry == "passing"

    def all_healthy(self, count: int) -> bool:
        """The whole fleet, by a registry that answers."""
        return not self.registry.stale and sum(self.healthy(node.id) for node in self.nodes) >= count


class Watch:
    """`async with Watch(fleet) as watch:` keeps looking inside the block."""

    def __init__(self, fleet: Fleet) -> None:
        self.view: View | None = None
        self._fleet = fleet
        self._looked = asyncio.Condition()

    async def __aenter__(self) -> Watch:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0))
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._session.close()

    async def until(self, seen: Callable[[View], bool], seconds: float = PATIENCE_SECONDS) -> float | None:
        """When (time.monotonic) the gateway first says so; None when it does not in time."""
        try:
            async with asyncio.timeout(seconds), self._looked:
                await self._looked.wait_for(lambda: self.view is not None and seen(self.view))
        except TimeoutError:
            return None
        return monotonic()

    async def _look(self) -> None:
        while True:
            view = await self._ask()
            async with self._looked:
                self.view = view
                self._looked.notify_all()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _ask(self) -> View | None:
        try:
            async with self._session.get(f"http://{self._fleet.operators}/api/fleet") as answer:
                document: Any = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return None
        return msgspec.json.decode(document, type=View)
