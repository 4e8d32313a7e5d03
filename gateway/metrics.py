"""Every metric that counts requests, named once; the gauges are in gauges.py. Names: docs/operations.md.

prometheus_client's own counters take a lock and a Python call each, about 8 µs a request for this set. So requests
are counted in plain cells (a dictionary look-up and an addition), and the library's collector interface turns the
cells into families when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from gateway.outcome import Outcome

PREFIX = "fleetgate_"
# OpenTelemetry's buckets for http.server.request.duration, and two for oversized images; seconds.
DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0)
BODY_BOUNDS = (1e3, 1e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8)
_DURATION_MS = tuple(bound * 1000 for bound in DURATION_BOUNDS)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
REJECTIONS = {
    "queue-full": "full",
    "hopeless": "timeout",
    "no-node": "no_node",
    "node-busy": "busy",
    "draining": "draining",
    "quota-exceeded": "quota",
}
ATTEMPT_OUTCOMES = {
    "": "ok",
    "node-unreachable": "connect",
    "deadline-missed": "timeout",
    "client-gone": "aborted",
    "node-busy": "busy",
}
# OpenMetrics allows an exemplar's labels 128 characters in all.
_EXEMPLAR_CHARACTERS = 100


class _Histogram:
    """Counts by bucket, their sum, and the last request in each bucket."""

    __slots__ = ("counts", "last", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.last: list[Outcome | None] = [None] * (len(bounds) + 1)

    def merge(self, other: _Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
        self.last = [theirs or mine for mine, theirs in zip(self.last, other.last, strict=True)]


class _Flow:
    """Requests of one size class that one pool answered, for one reason: queue wait and time with the node."""

    __slots__ = ("node", "queue")

    def __init__(self) -> None:
        self.queue = _Histogram(DURATION_BOUNDS)
        self.node = _Histogram(DURATION_BOUNDS)


class Metrics(Collector):
    """An observer of outcomes, and a collector for prometheus_client's registry."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, int], _Histogram] = {}
        self._flows: dict[tuple[str, str, str], _Flow] = {}
        self._attempts: Counter[tuple[str, str, str]] = Counter()  # pool, node, error code
        self._retries: Counter[tuple[str, str]] = Counter()  # size class, error code
        self._rejected: Counter[tuple[str, str]] = Counter()  # size class, error code
        self._bodies = _Histogram(BODY_BOUNDS)

    def finished(self, outcome: Outcome) -> None:
        """Count one request."""
        key = (outcome.route, outcome.method, outcome.status)
        cell = self._requests.get(key) or self._new_request_cell(key)
        ms = outcome.total_ms
        index = bisect_left(_DURATION_MS, ms)
        cell.counts[index] += 1
        cell.sum += ms
        cell.last[index] = outcome
        if outcome.body_bytes:
            self._bodies.counts[bisect_left(BODY_BOUNDS, outcome.body_bytes)] += 1
            self._bodies.sum += outcome.body_bytes
        if outcome.attempts:
            self._attempted(outcome, ms)
        elif outcome.error in REJECTIONS:
            self._rejected[outcome.size_class or "none", outcome.error] += 1

    def _attempted(self, outcome: Outcome, total_ms: float) -> None:
        key = (outcome.size_class, outcome.pool, outcome.why)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow()
        queue_ms = outcome.queue_ms
        queue, node = flow.queue, flow.node
        queue.counts[bisect_left(_DURATION_MS, queue_ms)] += 1
        queue.sum += queue_ms
        node_ms = total_ms - outcome.recv_ms - queue_ms
        node.counts[bisect_left(_DURATION_MS, node_ms)] += 1
        node.sum += node_ms
        attempts, attempt = self._attempts, (outcome.pool, outcome.node, outcome.error)
        attempts[attempt] = attempts.get(attempt, 0) + 1
        for code in outcome.retries:
            self._retries[outcome.size_class, code] += 1

    def _new_request_cell(self, key: tuple[str, str, int]) -> _Histogram:
        route, method, status = key
        if method not in METHODS:  # a client chooses its method: keep the label bounded
            return self._requests.setdefault((route, "other", status), _Histogram(DURATION_BOUNDS))
        return self._requests.setdefault(key, _Histogram(DURATION_BOUNDS))

    def keep(self, nodes: frozenset[str]) -> None:
        """Drop the series of nodes that left."""
        for key in [key for key in self._attempts if key[1] and key[1] not in nodes]:
            del self._attempts[key]

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        yield from self._request_families()
        yield from self._flow_families()
        yield from self._attempt_families()

    def _request_families(self) -> Iterable[Metric]:
        total = CounterMetricFamily(
            PREFIX + "http_requests", "Requests answered at the public endpoint.", labels=["route", "method", "code"]
        )
        merged: defaultdict[tuple[str, str], _Histogram] = defaultdict(lambda: _Histogram(DURATION_BOUNDS))
        for (route, method, status), cell in self._requests.items():
            total.add_metric([route, method, str(status)], sum(cell.counts))
            merged[route, str(status)].merge(cell)
        duration = HistogramMetricFamily(
            PREFIX + "http_request_duration_seconds",
            "From a request's first byte to the end of its answer.",
            labels=["route", "code"],
        )
        for labels, cell in merged.items():
            _add(duration, labels, cell, DURATION_BOUNDS, 1000.0)
        bodies = HistogramMetricFamily(PREFIX + "http_request_body_bytes", "Size of request bodies.", labels=[])
        _add(bodies, (), self._bodies, BODY_BOUNDS, 1.0)
        return total, duration, bodies

    def _flow_families(self) -> Iterable[Metric]:
        routed = CounterMetricFamily(
            PREFIX + "routed", "Requests by size class and why they were put in it.", labels=["pool", "reason"]
        )
        spilled = CounterMetricFamily(
            PREFIX + "spilled", "Requests answered by the other pool than their own.", labels=["pool", "to"]
        )
        reasons: Counter[tuple[str, str]] = Counter()
        crossed: Counter[tuple[str, str]] = Counter()
        waits: defaultdict[str, _Histogram] = defaultdict(lambda: _Histogram(DURATION_BOUNDS))
        times: defaultdict[str, _Histogram] = defaultdict(lambda: _Histogram(DURATION_BOUNDS))
        for (size_class, pool, why), flow in self._flows.items():
            count = sum(flow.queue.counts)
            reasons[size_class, why or "default"] += count
            if pool not in {"", size_class}:
                crossed[size_class, pool] += count
            waits[size_class].merge(flow.queue)
            times[pool].merge(flow.node)
        _add_counts(routed, reasons)
        _add_counts(spilled, crossed)
        wait = HistogramMetricFamily(
            PREFIX + "pool_queue_wait_seconds", "Wait for a slot, by size class.", labels=["pool"]
        )
        for pool, cell in waits.items():
            _add(wait, (pool,), cell, DURATION_BOUNDS, 1000.0)
        spent = HistogramMetricFamily(
            PREFIX + "upstream_request_duration_seconds",
            "Time with nodes, all attempts of a request together, by the pool that answered.",
            labels=["pool"],
        )
        for pool, cell in times.items():
            _add(spent, (pool,), cell, DURATION_BOUNDS, 1000.0)
        return routed, spilled, wait, spent

    def _attempt_families(self) -> Iterable[Metric]:
        upstream = CounterMetricFamily(
            PREFIX + "upstream_requests",
            "Last attempts by node and how they ended.",
            labels=["pool", "node", "outcome"],
        )
        outcomes: Counter[tuple[str, str, str]] = Counter()
        for (pool, node, code), count in self._attempts.items():
            outcomes[pool, node, ATTEMPT_OUTCOMES.get(code, "error")] += count
        _add_counts(upstream, outcomes)
        retries = CounterMetricFamily(
            PREFIX + "upstream_retries",
            "Attempts that were followed by one on another node.",
            labels=["pool", "reason"],
        )
        _add_counts(retries, self._retries)
        rejected = CounterMetricFamily(
            PREFIX + "pool_rejected", "Requests turned away before a node had them.", labels=["pool", "reason"]
        )
        named: Counter[tuple[str, str]] = Counter()
        for (size_class, code), count in self._rejected.items():
            named[size_class, REJECTIONS[code]] += count
        _add_counts(rejected, named)
        return upstream, retries, rejected


def _add_counts(family: CounterMetricFamily, counts: Counter[tuple[str, str]] | Counter[tuple[str, str, str]]) -> None:
    for labels, count in counts.items():
        family.add_metric(list(labels), count)


def _add(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    cell: _Histogram,
    bounds: Sequence[float],
    scale: float,
) -> None:
    """Cumulative buckets, as the exposition wants them; `scale` turns what was counted into the base unit."""
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    running = 0
    for name, count, last in zip([*map(_le, bounds), "+Inf"], cell.counts, cell.last, strict=True):
        running += count
        buckets.append((name, running, _exemplar(last)) if last else (name, running))
    family.add_metric(labels, buckets, cell.sum / scale)


def _le(bound: float) -> str:
    return repr(float(bound))


def _exemplar(outcome: Outcome) -> Exemplar:
    labels = {"request_id": outcome.request_id[:_EXEMPLAR_CHARACTERS]}
    return Exemplar(labels, outcome.total_ms / 1000.0, outcome.at)
