"""A fixed list as a registry: nothing to announce, nothing to watch; the gateway's own probes tell the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from urllib.parse import parse_qsl, urlsplit

from discovery.facts import instance_id, to_instance
from discovery.instance import Instance, Snapshot


def parse_list(text: str, service: str) -> frozenset[Instance]:
    """`host:port[/pool][?fact=value&…],…`, facts as in Consul's Meta. Raises ValueError naming the bad entry."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not entries:
        raise ValueError("the list is empty")
    instances = [_entry(entry, service) for entry in entries]
    if len({instance.id for instance in instances}) < len(instances):
        raise ValueError("a host:port is listed twice")
    return frozenset(instances)


def _entry(entry: str, service: str) -> Instance:
    try:
        parts = urlsplit(f"//{entry}")
        if not parts.hostname or parts.port is None or "@" in parts.netloc or parts.fragment:
            raise ValueError("expected host:port[/pool]")
        facts = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        pool = parts.path.strip("/")
        if pool:
            facts["pool"] = pool
        return to_instance(parts.hostname, parts.port, facts, id=instance_id(service, parts.hostname, parts.port))
    except ValueError as error:
        raise ValueError(f"{entry!r}: {error}") from None


class StaticWatcher:
    """One snapshot, for ever."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        self._snapshot = Snapshot(instances=frozenset(instances))
        self._closed = asyncio.Event()

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See Watcher."""
        yield self._snapshot
        await self._closed.wait()

    def age(self) -> float:
        """A list in the configuration is never old."""
        return 0.0

    async def close(self) -> None:
        """End the snapshots."""
        self._closed.set()


class StaticRegistrar:
    """A node of a fixed list is known already."""

    async def announce(self, instance: Instance) -> None:
        """Nothing to tell anybody."""

    async def withdraw(self) -> None:
        """The node's own health answer says it."""

    async def close(self) -> None:
        """Nothing was opened."""
