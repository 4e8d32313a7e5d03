"""The exposition: right numbers, bounded labels, names as the linter wants them."""

import re
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from gateway.metrics import Metrics
from tests.fakes.outcomes import failed, outcome, refused


def registry(metrics: Metrics) -> CollectorRegistry:
    collectors = CollectorRegistry()
    collectors.register(metrics)
    return collectors


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return registry(metrics).get_sample_value(name, labels)


def test_a_request_is_counted_once_in_each_family() -> None:
    metrics = Metrics()
    metrics.finished(outcome(total_ms=20.0))
    assert value(metrics, "fleetgate_http_requests_total", route="predict", method="POST", code="200") == 1
    duration = "fleetgate_http_request_duration_seconds"
    assert value(metrics, duration + "_bucket", route="predict", code="200", le="0.01") == 0
    assert value(metrics, duration + "_bucket", route="predict", code="200", le="0.025") == 1
    assert value(metrics, duration + "_sum", route="predict", code="200") == 0.02
    assert value(metrics, "fleetgate_http_request_body_bytes_count") == 1
    assert value(metrics, "fleetgate_routed_total", pool="light", reason="pixels") == 1
    assert value(metrics, "fleetgate_upstream_requests_total", pool="light", node="light-1", outcome="ok") == 1
    assert value(metrics, "fleetgate_upstream_request_duration_seconds_count", pool="light") == 1
    assert value(metrics, "fleetgate_pool_queue_wait_seconds_sum", pool="light") == 0.0005


def test_a_refusal_is_no_attempt() -> None:
    metrics = Metrics()
    metrics.finished(refused())
    metrics.finished(refused(error="hopeless"))
    metrics.finished(refused(error="no-node"))
    for reason in ("full", "timeout", "no_node"):
        assert value(metrics, "fleetgate_pool_rejected_total", pool="light", reason=reason) == 1
    assert value(metrics, "fleetgate_pool_queue_wait_seconds_count", pool="light") is None


def test_retries_and_spill_are_seen() -> None:
    metrics = Metrics()
    metrics.finished(outcome(attempts=3, retries=("node-busy", "node-unreachable"), pool="heavy", node="heavy-1"))
    assert value(metrics, "fleetgate_upstream_retries_total", pool="light", reason="node-busy") == 1
    assert value(metrics, "fleetgate_upstream_retries_total", pool="light", reason="node-unreachable") == 1
    assert value(metrics, "fleetgate_spilled_total", pool="light", to="heavy") == 1


def test_the_series_of_a_node_that_left_go_and_the_pools_total_stays() -> None:
    metrics = Metrics()
    metrics.finished(outcome(node="stays"))
    metrics.finished(failed(node="leaves"))
    metrics.keep(frozenset({"stays"}))
    text = generate_latest(registry(metrics)).decode()
    assert 'node="stays"' in text
    assert 'node="leaves"' not in text
    assert value(metrics, "fleetgate_upstream_request_duration_seconds_count", pool="light") == 2


def test_a_client_cannot_make_labels() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.finished(outcome(method=f"X{number}", path=f"/{number}", request_id=f"id-{number}", client=f"{number}"))
    text = generate_latest(registry(metrics)).decode()
    assert 'method="other"' in text
    assert len(text.splitlines()) < 150


def test_buckets_carry_the_last_request_as_an_exemplar() -> None:
    metrics = Metrics()
    metrics.finished(outcome(request_id="r" * 128))
    metrics.finished(outcome(request_id="slow", total_ms=900.0))
    families = {family.name: family for family in parse_openmetrics(generate_openmetrics(registry(metrics)).decode())}
    duration = families["fleetgate_http_request_duration_seconds"]
    exemplars = [sample.exemplar for sample in duration.samples if sample.exemplar]
    assert [exemplar.labels["request_id"] for exemplar in exemplars] == ["r" * 100, "slow"]


def test_names_keep_the_linters_rules() -> None:
    metrics = Metrics()
    for ending in (outcome(), refused(), failed(attempts=2, retries=("node-busy",)), outcome(pool="heavy")):
        metrics.finished(ending)
    complaints = [complaint for family in metrics.collect() for complaint in lint(family)]
    assert complaints == []


def lint(family: Metric) -> Iterator[str]:
    """The rules of `promtool check metrics` (promlint) that can be broken from Python."""
    name = family.name
    if not family.documentation.endswith("."):
        yield f"{name}: help is no sentence"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield f"{name}: letters other than lower case, or a colon"
    if re.search(
        r"_(ms|milliseconds|minutes|hours|kilobytes|kb|mb|percent|gauge|counter|histogram|summary)(_|$)", name
    ):
        yield f"{name}: not a base unit, or the type in the name"
    if family.type == "counter" and not all(sample.name.endswith(("_total", "_created")) for sample in family.samples):
        yield f"{name}: a counter ends in _total"
    if family.type == "gauge" and name.endswith("_total"):
        yield f"{name}: a gauge does not end in _total"
    if family.type != "histogram" and name.endswith(("_count", "_sum", "_bucket")):
        yield f"{name}: reserved for histograms"
