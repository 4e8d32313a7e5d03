"""What a node announces about itself, and how the fleet is watched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import msgspec


class Status(StrEnum):
    """What the registry says of an instance; the worst of all its checks."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"
    MAINTENANCE = "maintenance"


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One node as the registry knows it. Facts only: live load never goes into the registry."""

    id: str  # <service>-<host>-<port>
    host: str
    port: int
    pool: str = "light"  # light | heavy
    models: tuple[str, ...] = ()  # name@version
    capacity: int = 1  # slots: requests in progress at once
    max_pixels: int = 50_000_000
    device: str = "cpu"
    speed: float = 1.0  # relative to the artefact's cost prior
    protocol: str = "fleetgate"  # or "oip": a foreign server without our load report
    tls: bool = False
    status: Status = Status.PASSING

    @property
    def address(self) -> str:
        """host:port, brackets around IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole fleet at one moment. `stale` is empty, or says why the instances are the last good ones."""

    instances: frozenset[Instance]
    stale: str = ""


class Watcher(Protocol):
    """How the gateway learns who is in the fleet."""

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """Whole snapshots, the first as soon as the registry answered or failed to, then one per change.

        Ends only by close() and never raises for a registry's failure: the last good set is repeated, marked
        stale; before there is one, an empty set marked stale.
        """
        ...

    def age(self) -> float:
        """Seconds since the registry last gave an answer to be believed; inf before the first."""
        ...

    async def close(self) -> None:
        """End the snapshots and release connections."""
        ...


class Registrar(Protocol):
    """How a node makes itself known."""

    async def announce(self, instance: Instance) -> None:
        """Register, and keep registered (again after the registry forgot) until withdrawn.

        Returns after the first try, good or bad: a registry that is away fails no node. Announcing again with
        other facts (same id) changes them without a gap. Raises ValueError for facts that cannot be true.
        """
        ...

    async def withdraw(self) -> None:
        """Ask for no new requests, visible to gateways at once; the node finishes what it has. Takes 2 s at most."""
        ...

    async def close(self) -> None:
        """Leave the registry and release connections."""
        ...
