"""What came of asking shared nodes for their slots, as a metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.metrics import PREFIX


class GrantMetrics(Collector):
    """`counts` are read when somebody scrapes."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        """Nothing: there is no need to look in order to register."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family."""
        text = "Slots that nodes were asked for, since other gateways use them too."
        asked = CounterMetricFamily(PREFIX + "grants", text, labels=["answer"])
        for answer, count in self._counts.items():
            asked.add_metric([answer], count)
        yield asked
