"""A fleet that is probed, without anything else of a gateway.

async with probing(OFTEN) as one:
    one.adopt(node)
    await one.until(lambda: one.probed(node))
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from discovery.instance import Snapshot
from gateway.backend import Backend
from gateway.config import Health
from gateway.fleet import Change, Fleet
from gateway.health import Prober
from gateway.node_client import NodeClient
from tests.fakes.node import FakeNode

OFTEN = Health(probe_interval=0.05, probe_timeout=0.2)


@dataclass
class Probing:
    """A fleet that is probed, and a bell that rings after each verdict."""

    options: Health
    fleet: Fleet = field(init=False)
    client: NodeClient = field(init=False)
    prober: Prober = field(init=False)
    verdicts: list[str] = field(default_factory=list)
    lost: int = 0  # verdicts against a node
    bell: asyncio.Condition = field(default_factory=asyncio.Condition)
    ringing: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        rng = Random(1)
        self.fleet = Fleet(self.options, rng)
        self.client = NodeClient(1.0, 1 << 16)
        self.prober = Prober(self.fleet, self.client.pool, self.options, rng, self.judged)

    def adopt(self, *nodes: FakeNode, now: float = 0.0) -> None:
        change = self.fleet.adopt(Snapshot(instances=frozenset(node.instance() for node in nodes)), now)
        self.prober.follow(change.joined, change.left)

    def judged(self, backend: Backend, change: Change) -> None:
        self.verdicts.append(backend.id)
        self.lost += backend.standing.probe_failures > 0
        self.prober.follow(change.joined, change.left)
        task = asyncio.ensure_future(self.ring())
        self.ringing.add(task)
        task.add_done_callback(self.ringing.discard)

    async def ring(self) -> None:
        async with self.bell:
            self.bell.notify_all()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20), self.bell:
            await self.bell.wait_for(condition)

    def probed(self, node: FakeNode) -> bool | None:
        return self.fleet.backends[node.instance().id].standing.probed

    def why(self, node: FakeNode) -> str:
        return self.fleet.backends[node.instance().id].standing.probe_why


@asynccontextmanager
async def probing(options: Health) -> AsyncIterator[Probing]:
    one = Probing(options)
    try:
        yield one
    finally:
        await one.prober.close()
        assert one.client.pool.open == 0
