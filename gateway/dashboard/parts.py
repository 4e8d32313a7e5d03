"""What the operators' side is built from, handed over by gateway/app.py."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from gateway.config import GatewayConfig
from gateway.dashboard.document import Document, Gateway
from gateway.dashboard.frame import Waiting, nodes_of, pools_of, registry_of, rules_of, targets_of
from gateway.dashboard.verdict import judge
from gateway.dashboard.watch import lost
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.registry_state import RegistryState

if TYPE_CHECKING:
    from gateway.fleet import Fleet
    from gateway.scheduler import Scheduler

# How long the verdict speaks of a node that vanished without a goodbye.
REMEMBERED_SECONDS = 300.0


def _nothing() -> None:
    """Nobody waits for a change."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """The gateway as its operators see it. `monotonic` is the fleet's clock, `wall` the people's, both in seconds."""

    fleet: Fleet
    scheduler: Scheduler
    journal: Journal
    metrics: Metrics
    registry: RegistryState
    config: GatewayConfig
    name: str = field(default_factory=platform.node)  # tells replicas apart
    in_flight: Callable[[], int] = lambda: 0  # requests at the public endpoint now
    draining: Callable[[], bool] = lambda: False
    changed: Callable[[], None] = _nothing  # called after an action, since waiting requests may go now
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    collectors: Sequence[Collector] = ()  # metrics beside those of requests and nodes
    started: float = field(default_factory=time.monotonic)

    def document(self) -> Document:
        """The truth at this moment."""
        now, at = self.monotonic(), self.wall()
        nodes = nodes_of(self.fleet.view(now), self.journal, at)
        pools = pools_of(nodes, self.waiting(now), self.scheduler.routing)
        registry = registry_of(self.registry, at)
        recent = self.journal.window(10)
        targets = targets_of(self.scheduler.routing)
        gone = lost(self.journal.events, nodes, at - REMEMBERED_SECONDS)
        return Document(
            at=round(at, 3),
            gateway=self._gateway(now),
            verdict=judge(pools, nodes, registry, recent, draining=self.draining(), lost=gone, targets=targets),
            last_10s=recent,
            last_60s=self.journal.window(60),
            registry=registry,
            rules=rules_of(self.scheduler.routing),
            pools=pools,
            nodes=nodes,
        )

    def states(self) -> tuple[str, ...]:
        """See Source."""
        return (self.registry.stale, *(backend.standing.state for backend in self.fleet.backends.values()))

    def keep(self, nodes: frozenset[str]) -> None:
        """See Source."""
        self.journal.keep(nodes)
        self.metrics.keep(nodes)

    def prediction_errors(self) -> Mapping[str, float]:
        """See Source."""
        return self.scheduler.costs.errors()

    def waiting(self, now: float) -> dict[str, Waiting]:
        """The queue by size class."""
        return {name: self._waiting(name == "heavy", now) for name in ("light", "heavy")}

    def _waiting(self, heavy: bool, now: float) -> Waiting:
        scheduler = self.scheduler
        return Waiting(
            count=scheduler.depth(heavy),
            work_ms=scheduler.queued_ms(heavy),
            oldest_seconds=scheduler.oldest_wait(heavy, now),
        )

    def _gateway(self, now: float) -> Gateway:
        return Gateway(
            name=self.name,
            version=version("fleetgate"),
            up_seconds=round(now - self.started, 1),
            in_flight=self.in_flight(),
            draining=self.draining(),
            actions=bool(self.config.operator.token),
        )
