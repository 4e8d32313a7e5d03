"""What the operators' side needs of whatever it shows: one gateway, or several worker processes as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gateway.config import GatewayConfig
from gateway.dashboard.document import Document
from gateway.journal import Journal
from gateway.registry_state import RegistryState


class Source(Protocol):
    """The truth at any moment. Clocks: `monotonic` the fleet's, `wall` the people's, both in seconds."""

    journal: Journal

    @property
    def config(self) -> GatewayConfig:
        """As it is in force."""
        ...

    @property
    def registry(self) -> RegistryState:
        """How we stand with it."""
        ...

    def document(self) -> Document:
        """The truth at this moment."""
        ...

    def states(self) -> tuple[str, ...]:
        """Cheap to compare: it changes when a node's state or the registry's does."""
        ...

    def keep(self, nodes: frozenset[str]) -> None:
        """Drop what is kept by node for nodes that left."""
        ...

    def prediction_errors(self) -> Mapping[str, float]:
        """Mean relative error of recent cost predictions, by model."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...


class Answers(Protocol):
    """What has to be looked for, perhaps in other processes."""

    async def decision(self, request_id: str) -> object | None:
        """The document of one remembered request, or None."""
        ...

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the form that `accept` asks for, and its content type."""
        ...
