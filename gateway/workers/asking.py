"""What the parent looks for in its workers: a remembered request, metrics of all."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.dashboard.gauges import Gauges
from gateway.metrics import PREFIX
from gateway.workers.crew import Crew
from gateway.workers.exposition import added, shown
from gateway.workers.member import Member
from gateway.workers.together import Together
from gateway.workers.told import families_of

UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)
_STATES = ("serving", "starting", "leaving", "silent")


class Gathered:
    """See dashboard.source.Answers."""

    def __init__(self, together: Together, crew: Crew) -> None:
        self._together = together
        self._crew = crew
        self._own = CollectorRegistry()
        for system in (ProcessCollector, PlatformCollector, GCCollector):
            system(registry=self._own)

    async def decision(self, request_id: str) -> object | None:
        """From whichever worker served it, in its own words."""
        path = f"/api/decisions?{urlencode({'request_id': request_id})}"
        found = await asyncio.gather(*(_found(member, path) for member in self._crew.members))
        return next((msgspec.Raw(body) for body in found if body), None)

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """All of them as one process."""
        counted = await self._crew.count()
        own = {family.name: family for family in Gauges(self._together).collect() if family.type == "gauge"}
        own[PREFIX + "workers"] = self._workers()
        encoder, content_type = choose_encoder(accept)
        families = added([counted, families_of(self._own.collect())])
        return encoder(_Fixed([*shown(families, own)])), content_type

    def _workers(self) -> Metric:
        states = [row.state for row in self._together.document().workers]
        family = GaugeMetricFamily(PREFIX + "workers", "Worker processes by state.", labels=["state"])
        for state in _STATES:
            family.add_metric([state], states.count(state))
        return family


class _Fixed(Collector):
    """What an encoder asks of a registry."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """All of it."""
        return self._families


async def _found(member: Member, path: str) -> bytes:
    try:
        status, body = await member.ask("GET", path, None, {})
    except UNREACHABLE:
        return b""
    return body if status == 200 else b""
