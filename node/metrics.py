"""Every name that /metrics has, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from node.engine import Engine
from node.work import Row

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# OpenTelemetry's buckets for HTTP, and what an oversized image may take.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 30)
_LAG_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class _Count(Collector):
    """See Metrics.count."""

    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Asked by the registry."""
        yield CounterMetricFamily(self._name, self._text, self._read())


class _Counts(Collector):
    """See Metrics.counts."""

    def __init__(self, name: str, text: str, label: str, counted: Mapping[str, int]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._counted = counted

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Asked by the registry."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for value, count in self._counted.items():
            family.add_metric([value], count)
        yield family


class Metrics:
    """One node's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._duration = Histogram(
            "inference_request_duration_seconds",
            "Time of a request by phase.",
            ("model", "phase"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._answers = Counter(
            "inference_requests", "Answers to inference calls.", ("route", "code"), registry=self.registry
        )
        self._rows = Histogram(
            "inference_batch_rows", "Rows of a batch.", ("model",), buckets=_ROWS, registry=self.registry
        )
        self._pixels = Counter(
            "inference_decoded_pixels", "Pixels of decoded images.", ("format",), registry=self.registry
        )
        self._lag = Histogram(
            "event_loop_lag_seconds", "How late the event loop is.", buckets=_LAG_SECONDS, registry=self.registry
        )
        self._changes = Counter(
            "inference_model_changes",
            "Versions loaded, switched to, failed to load, unloaded.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self._lost = Counter(
            "inference_workers_lost", "Worker processes that ended or hung, and were replaced.", registry=self.registry
        )
        # Finding a child by its labels takes as long as all the rest.
        self._phase_of = cache(self._duration.labels)
        self._rows_of = cache(self._rows.labels)
        self._pixels_of = cache(self._pixels.labels)
        self._answers_of = cache(lambda route, status: self._answers.labels(route, str(status)))

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A number that is read when somebody looks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def count(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A number that only rises, counted elsewhere and read when somebody looks."""
        self.registry.register(_Count(name, text, read))

    def counts(self, name: str, text: str, label: str, counted: Mapping[str, int]) -> None:
        """Numbers that somebody else counts, by one label; read when somebody looks."""
        self.registry.register(_Counts(name, text, label, counted))

    def decoded(self, row: Row, ms: float) -> None:
        """One image became a row."""
        assert row.header is not None
        self._pixels_of(row.header.format).inc(row.header.pixels)
        self.phase(row.job.engine, "preprocess", ms)

    def ran(self, engine: Engine, rows: int, ms: float) -> None:
        """One batch went well."""
        self._rows_of(engine.title).observe(rows)
        self.phase(engine, "infer", ms)

    def phase(self, engine: Engine, phase: str, ms: float) -> None:
        """Time spent: queue, preprocess, infer or postprocess."""
        self._phase_of(engine.title, phase).observe(ms / 1000)

    def changed(self, title: str, outcome: str) -> None:
        """A version was loaded, switched to, unloaded, or failed. Of what is unloaded nothing more is told."""
        self._changes.labels(title.partition("@")[0], outcome).inc()
        if outcome == "unloaded":
            for family in (self._duration, self._rows):
                family.remove_by_labels({"model": title})
            self._phase_of.cache_clear()
            self._rows_of.cache_clear()

    def lost(self) -> None:
        """One worker process."""
        self._lost.inc()

    def answered(self, route: str, status: int) -> None:
        """One inference call ended."""
        self._answers_of(route, status).inc()

    def lag(self, seconds: float) -> None:
        """One look at the event loop."""
        self._lag.observe(seconds)

    def page(self) -> bytes:
        """/metrics."""
        return generate_latest(self.registry)
