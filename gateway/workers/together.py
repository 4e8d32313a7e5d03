"""All workers as one gateway: what the operators' page of the parent is drawn from."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from gateway.config import GatewayConfig
from gateway.dashboard.document import Document, Gateway, Node
from gateway.dashboard.frame import pools_of, registry_of, rules_of, targets_of
from gateway.dashboard.parts import REMEMBERED_SECONDS
from gateway.dashboard.verdict import judge
from gateway.dashboard.watch import lost
from gateway.journal import Event, Journal
from gateway.registry_state import RegistryState
from gateway.workers import merge
from gateway.workers.crew import Crew
from gateway.workers.told import Told


class Together:
    """See dashboard.source.Source."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.draining = False
        self.crew: Crew | None = None
        self._registry = RegistryState("")
        self._nodes: list[Node] = []  # as last told: that nobody tells of them is no news of them
        self._started = time.monotonic()

    @property
    def config(self) -> GatewayConfig:
        """See Source."""
        return self._crew.config

    @property
    def registry(self) -> RegistryState:
        """See Source."""
        told = [member.told.registry for member in self._crew.serving if member.told is not None]
        state = self._registry
        state.url = self.config.registry.url.rsplit("@", 1)[-1]
        merge.registry(told, state)
        return state

    @property
    def _crew(self) -> Crew:
        assert self.crew is not None
        return self.crew

    def hear(self, told: Told) -> None:
        """A worker's beat."""
        for slot in told.slots:
            self.journal.add(slot)
        for name in told.news.__struct_fields__:
            ring: Any = getattr(self.journal, name)  # of requests in full, for readers that take them in brief too
            for item in getattr(told.news, name):
                ring.append(item)

    def note(self, subject: str, text: str, reason: str = "", kind: str = "worker", by: str = "") -> Event:
        """Something that operators should be able to look up."""
        event = Event(at=round(self.wall(), 3), kind=kind, subject=subject, text=text, reason=reason, by=by)
        self.journal.events.append(event)
        return event

    def document(self) -> Document:
        """See Source."""
        serving = [member.told.document for member in self._crew.serving if member.told and member.speaks]
        leaving = [member.told.document for member in self._crew.leaving if member.told is not None]
        at, now, config = self.wall(), self.monotonic(), self.config
        if serving or leaving:
            self._nodes = merge.nodes(serving or leaving, leaving if serving else [])
        nodes = self._nodes
        pools = pools_of(nodes, merge.waiting([*serving, *leaving]), config.routing)
        registry = registry_of(self.registry, at)
        recent = self.journal.window(10)
        gone = lost(self.journal.events, nodes, at - REMEMBERED_SECONDS)
        own = judge(
            pools, nodes, registry, recent, draining=self.draining, lost=gone, targets=targets_of(config.routing)
        )
        opinions = [document.verdict for document in serving]
        verdict = own if self.draining else merge.verdict(own, opinions, config.workers.count)
        return Document(
            at=round(at, 3),
            gateway=Gateway(
                name=platform.node(),
                version=version("fleetgate"),
                up_seconds=round(now - self._started, 1),
                in_flight=sum(document.gateway.in_flight for document in (*serving, *leaving)),
                draining=self.draining,
                actions=bool(config.operator.token),
            ),
            verdict=verdict,
            last_10s=recent,
            last_60s=self.journal.window(60),
            registry=registry,
            rules=serving[0].rules if serving else rules_of(self.config.routing),
            pools=pools,
            nodes=nodes,
            workers=[member.row() for member in (*self._crew.serving, *self._crew.starting, *self._crew.leaving)],
        )

    def states(self) -> tuple[str, ...]:
        """See Source."""
        documents = [member.told.document for member in self._crew.serving if member.told is not None]
        states = [node.state for document in documents for node in document.nodes]
        return (*(document.registry.stale for document in documents), *states)

    def keep(self, nodes: frozenset[str]) -> None:
        """See Source."""
        self.journal.keep(nodes)

    def prediction_errors(self) -> Mapping[str, float]:
        """See Source."""
        return merge.prediction_errors([m.told.prediction_errors for m in self._crew.serving if m.told is not None])

    def monotonic(self) -> float:
        """See Source."""
        return time.monotonic()

    def wall(self) -> float:
        """See Source."""
        return time.time()
