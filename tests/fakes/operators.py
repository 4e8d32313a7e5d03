"""The operators' listener over a real fleet, scheduler and journal, on a port of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random

import aiohttp
from aiohttp import web

from discovery.instance import Instance, Snapshot
from gateway.config import GatewayConfig, Health, Operator
from gateway.costs import Costs
from gateway.dashboard.app import PULSE, build
from gateway.dashboard.encryption import EncryptionMetrics
from gateway.dashboard.parts import Parts
from gateway.dashboard.pulse import Pulse
from gateway.encryption import Encryption
from gateway.fleet import Fleet
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.registry_state import RegistryState
from gateway.scheduler import Scheduler
from tls.config import ClientTls, ServerTls

TOKEN = "only-operators-know"


def node(name: str, pool: str = "light", **facts: object) -> Instance:
    """An announced node; ports are never spoken to."""
    usual: dict[str, object] = {"host": "127.0.0.1", "port": 9000, "models": ("lite0@1",), "capacity": 2}
    return Instance(id=name, pool=pool, **{**usual, **facts})  # type: ignore[arg-type]


SMALL_FLEET = (node("light-1"), node("light-2"), node("heavy-1", "heavy", speed=2.0))


@dataclass
class Desk:
    """What a test turns, and what the page shows of it."""

    config: GatewayConfig
    health: Health = field(default_factory=Health)
    changes: int = 0  # how often waiting requests would have been looked at again

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.health, Random(1))
        self.scheduler = Scheduler(self.fleet, Costs(), self.config.routing, Random(1))
        self.journal = Journal()
        self.metrics = Metrics()
        self.registry = RegistryState(self.config.registry.url)
        self.parts = Parts(
            fleet=self.fleet,
            scheduler=self.scheduler,
            journal=self.journal,
            metrics=self.metrics,
            registry=self.registry,
            config=self.config,
            changed=self._changed,
            collectors=[EncryptionMetrics(Encryption(ServerTls(), ClientTls()))],
        )
        self.url = ""
        self.pulse: Pulse | None = None
        self.hang_up = _none  # breaks every connection
        self.end = _nothing  # ends the listener, as the gateway does when it leaves

    def _changed(self) -> None:
        self.changes += 1

    def announce(self, instances: Iterable[Instance], stale: str = "") -> None:
        """What the registry says from now on; nodes pass their probes."""
        snapshot = Snapshot(instances=frozenset(instances), stale=stale)
        self.registry.seen(snapshot, time.time())
        self.fleet.adopt(snapshot, time.monotonic())
        for name in self.fleet.backends:
            self.fleet.probed(name, True, time.monotonic())

    def sleeps(self, seconds: int) -> None:
        """So many beats go by while nobody listens."""
        assert self.pulse is not None
        for _ in range(seconds):
            self.pulse.strike(1.0)

    def dies(self, name: str) -> None:
        """A node stops answering probes."""
        for _ in range(self.health.probe_failures):
            self.fleet.probed(name, False, time.monotonic(), "connection refused")


async def _nothing() -> None:
    """Not served yet."""


def _none() -> None:
    """Nobody is connected yet."""


def _hang_up(runner: web.AppRunner) -> None:
    assert runner.server is not None
    for connection in runner.server.connections:
        if connection.transport is not None:
            connection.transport.abort()


@asynccontextmanager
async def desk(instances: Iterable[Instance] = SMALL_FLEET, token: str = TOKEN) -> AsyncIterator[Desk]:
    """A gateway's operator side with these nodes, served on loopback."""
    made = Desk(GatewayConfig(operator=Operator(token=token)))
    made.announce(instances)
    application = build(made.parts)
    made.pulse = application[PULSE]
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.end = runner.cleanup
        made.hang_up = partial(_hang_up, runner)
        made.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def session(desk: Desk) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the listener."""
    async with aiohttp.ClientSession(desk.url, timeout=aiohttp.ClientTimeout(total=20)) as client:
        yield client
