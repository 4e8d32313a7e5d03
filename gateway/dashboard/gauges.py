"""Every metric that states how things are now, read from the document when somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.dashboard.document import Document, Node, Pool
from gateway.dashboard.source import Source
from gateway.dashboard.verdict import LEVELS
from gateway.metrics import PREFIX
from gateway.standing import State

POOL_GAUGES: dict[str, tuple[str, Callable[[Pool], float]]] = {
    "pool_usable_nodes": ("Nodes that may be given requests.", lambda pool: pool.usable),
    "pool_slots": ("Slots of usable nodes.", lambda pool: pool.capacity),
    "pool_slots_busy": ("Slots that work for us.", lambda pool: pool.busy),
    "pool_in_flight": ("Requests on the pool's nodes.", lambda pool: pool.in_flight),
    "pool_queue_depth": ("Requests of this size class that wait for a slot.", lambda pool: pool.queued),
    "pool_queue_work_seconds": ("Predicted work in the queue, at speed 1.", lambda pool: pool.queued_seconds),
    "pool_queue_oldest_seconds": ("How long the first of the queue has waited.", lambda pool: pool.oldest_wait_seconds),
}
NODE_GAUGES: dict[str, tuple[str, Callable[[Node], float]]] = {
    "node_up": ("Whether the node may be given requests.", lambda node: float(node.usable)),
    "upstream_in_flight": ("Requests on the node, ours.", lambda node: node.in_flight),
    "node_utilization_ratio": (
        "Slots held, by us and others.",
        lambda node: (node.in_flight + node.others) / node.slots,
    ),
    "node_gateways": ("Gateways that the node serves; 0 when it does not say.", lambda node: node.gateways),
    "node_work_seconds": ("Predicted work left on the node, at speed 1.", lambda node: node.work_ms / 1000),
    "node_speed_ratio": ("Learned speed; 1 is the model's prior.", lambda node: node.speed),
    "node_weight_ratio": ("An operator's factor on the node's speed.", lambda node: node.weight),
    "node_error_ratio": ("Share of recent attempts that the node lost.", lambda node: node.error_share),
}


NODE_COUNTERS: dict[str, tuple[str, Callable[[Node], float]]] = {
    "upstream_attempts": ("Requests sent to the node, retries among them.", lambda node: node.attempts),
    "upstream_lost_attempts": ("Attempts that the node lost, saved by another or not.", lambda node: node.errors),
}


class Gauges(Collector):
    """A collector for prometheus_client's registry."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not look at a fleet that is still being built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families, for prometheus_client."""
        document = self._source.document()
        yield _gauge("http_requests_in_flight", "Requests at the public endpoint now.", document.gateway.in_flight)
        yield from _pools(document.pools)
        yield from _nodes(document.nodes)
        yield from _node_counters(document.nodes)
        yield from self._discovery(document)
        yield from _models(document)
        prediction = GaugeMetricFamily(
            PREFIX + "prediction_error_ratio", "Mean relative error of recent cost predictions.", labels=["model"]
        )
        for model, error in self._source.prediction_errors().items():
            prediction.add_metric([model], error)
        yield prediction
        yield _one_hot("verdict", "What the page says: ok, degraded or down.", "level", LEVELS, document.verdict.level)

    def _discovery(self, document: Document) -> Iterator[Metric]:
        state = self._source.registry
        yield _gauge(
            "discovery_last_success_timestamp_seconds",
            "When the registry last spoke well of itself.",
            state.last_success(document.at),
        )
        yield _gauge("discovery_stale", "Whether the nodes are the last known ones.", float(bool(state.stale)))
        updates = CounterMetricFamily(PREFIX + "discovery_updates", "Good snapshots from the registry.")
        updates.add_metric([], state.updates)
        yield updates
        errors = CounterMetricFamily(PREFIX + "discovery_errors", "Snapshots marked stale.", labels=["reason"])
        for reason, count in state.failures.items():
            errors.add_metric([reason], count)
        yield errors


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text)
    family.add_metric([], value)
    return family


def _one_hot(name: str, text: str, label: str, values: Iterable[str], chosen: str) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for value in values:
        family.add_metric([value], float(value == chosen))
    return family


def _pools(pools: list[Pool]) -> Iterator[Metric]:
    states = GaugeMetricFamily(PREFIX + "pool_nodes", "Nodes by state.", labels=["pool", "state"])
    for pool in pools:
        for state in State:
            states.add_metric([pool.name, state.value], pool.states.get(state.value, 0))
    yield states
    for name, (text, read) in POOL_GAUGES.items():
        family = GaugeMetricFamily(PREFIX + name, text, labels=["pool"])
        for pool in pools:
            family.add_metric([pool.name], read(pool))
        yield family


def _nodes(nodes: list[Node]) -> Iterator[Metric]:
    for name, (text, read) in NODE_GAUGES.items():
        family = GaugeMetricFamily(PREFIX + name, text, labels=["pool", "node"])
        for node in nodes:
            family.add_metric([node.pool, node.id], read(node))
        yield family


def _node_counters(nodes: list[Node]) -> Iterator[Metric]:
    for name, (text, read) in NODE_COUNTERS.items():
        family = CounterMetricFamily(PREFIX + name, text, labels=["pool", "node"])
        for node in nodes:
            family.add_metric([node.pool, node.id], read(node))
        yield family


def _models(document: Document) -> Iterator[Metric]:
    models = GaugeMetricFamily(PREFIX + "model_info", "Models that nodes announce.", labels=["model", "version"])
    serving = GaugeMetricFamily(PREFIX + "model_usable_nodes", "Usable nodes by model.", labels=["model", "version"])
    counts: dict[str, int] = {}
    for node in document.nodes:
        for model in node.models:
            counts[model] = counts.get(model, 0) + node.usable
    for model, count in counts.items():
        name, _, number = model.partition("@")
        models.add_metric([name, number], 1)
        serving.add_metric([name, number], count)
    yield models
    yield serving
    build = GaugeMetricFamily(PREFIX + "build_info", "This gateway.", labels=["version"])
    build.add_metric([document.gateway.version], 1)
    yield build
