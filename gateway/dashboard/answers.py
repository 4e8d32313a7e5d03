"""What one gateway finds in itself: a remembered request, its metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry as Collectors
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from gateway.dashboard.document import VERSION
from gateway.dashboard.gauges import Gauges
from gateway.dashboard.parts import Parts
from gateway.dashboard.words import explain


def collectors_of(parts: Parts) -> Collectors:
    """Everything that /metrics shows of one gateway."""
    collectors = Collectors()
    collectors.register(parts.metrics)
    collectors.register(Gauges(parts))
    for collector in parts.collectors:
        collectors.register(collector)
    for system in (ProcessCollector, PlatformCollector, GCCollector):
        system(registry=collectors)
    return collectors


class OwnAnswers:
    """See source.Answers."""

    def __init__(self, parts: Parts, collectors: Collectors) -> None:
        self._parts = parts
        self._collectors = collectors

    async def decision(self, request_id: str) -> object | None:
        """The request with its explanation in sentences."""
        outcome = self._parts.journal.find(request_id)
        if outcome is None:
            return None
        sentences = explain(outcome, threshold_pixels=self._parts.scheduler.routing.oversize_pixels)
        return {"version": VERSION, "request": outcome, "explanation": sentences}

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """Prometheus text or OpenMetrics."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._collectors), content_type
