"""Many workers' words as one: documents, metrics, limits, orders."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.config import GatewayConfig, Limits, Log, Routing, Workers
from gateway.dashboard.document import Document, Node, Verdict
from gateway.outcome import Outcome
from gateway.registry_state import RegistryState
from gateway.windows import Slot, summarise
from gateway.workers import live, merge
from gateway.workers.exposition import added, remains, shown
from gateway.workers.loads import Loads
from gateway.workers.orders import Orders
from gateway.workers.share import share
from gateway.workers.told import Family, Registry, families_of
from tests.fakes.operators import SMALL_FLEET, Desk
from tests.fakes.outcomes import outcome


def document(*outcomes: Outcome, dead: str = "") -> Document:
    """What a worker says that saw these, and to which one node seems dead."""
    desk = Desk(GatewayConfig())
    desk.announce(SMALL_FLEET)
    if dead:
        desk.dies(dead)
    for each in outcomes:
        desk.journal.finished(each)
    return desk.parts.document()


def changed(original: Document, name: str, **facts: Any) -> Document:
    """With other facts of one node."""
    nodes = [replace(node, **facts) if node.id == name else node for node in original.nodes]
    return replace(original, nodes=nodes)


def row(rows: list[Node], name: str) -> Node:
    return next(node for node in rows if node.id == name)


def test_what_workers_have_is_added_up_and_nothing_is_seen_twice():
    one = changed(document(), "light-1", in_flight=2, others=3, work_ms=10.0, requests=30, attempts=40, errors=1)
    other = changed(document(), "light-1", in_flight=3, others=2, work_ms=5.0, requests=10, attempts=11, errors=0)
    node = row(merge.nodes([one, other], []), "light-1")
    assert (node.in_flight, node.others, node.work_ms) == (5, 0, 15.0)
    assert (node.requests, node.attempts, node.errors, node.share) == (40, 51, 1, 1.0)


def test_other_gateways_are_still_seen_beside_the_siblings():
    one = changed(document(), "light-1", in_flight=2, others=7)
    other = changed(document(), "light-1", in_flight=3, others=6)
    assert row(merge.nodes([one, other], []), "light-1").others == 4


def test_the_worst_opinion_of_a_node_is_shown_with_how_many_hold_it():
    rows = merge.nodes([document(), document(dead="light-2"), document()], [])
    node = row(rows, "light-2")
    assert node.state == "ejected"
    assert node.usable
    assert node.why.endswith("(in 1 of 3 workers)")
    assert row(rows, "light-1").why == row(document().nodes, "light-1").why


def test_who_is_leaving_counts_but_has_no_opinion():
    leaving = changed(document(dead="light-1"), "light-1", in_flight=4)
    node = row(merge.nodes([document()], [leaving]), "light-1")
    assert (node.state, node.in_flight) == ("healthy", 4)


@given(st.permutations([0, 1, 2]))
def test_the_order_of_workers_does_not_matter(order: list[int]):
    documents = [
        changed(document(), "light-1", speed=1.5, requests=10, free_ms=5.0),
        changed(document(dead="light-2"), "light-1", speed=0.5, requests=30, weight=0.5),
        document(dead="heavy-1"),
    ]
    usual = merge.nodes(documents, [])
    mixed = merge.nodes([documents[index] for index in order], [])

    def timeless(rows: list[Node]) -> list[Node]:
        return sorted((replace(node, for_seconds=0.0) for node in rows), key=lambda node: node.id)

    assert timeless(mixed) == timeless(usual)


def test_the_verdict_is_the_worst():
    good = Verdict(level="ok", text="Serving. All well.", notes=["All well"])
    bad = Verdict(level="down", text="Down. No node can serve.", notes=["No node can serve"])
    assert merge.verdict(good, [good, good], 2) == good
    worst = merge.verdict(good, [good, bad], 2)
    assert (worst.level, worst.text) == ("down", "Down. All well. In 1 of 2 workers: No node can serve.")
    missing = merge.verdict(good, [good], 2)
    assert (missing.level, missing.text) == ("degraded", "Serving. All well. 1 of 2 worker processes does not serve.")
    assert merge.verdict(good, [], 2).level == "down"


def test_the_registry_is_as_good_as_the_worst_sees_it():
    state = RegistryState("static:")
    good, stale = Registry(True, "", 10.0, 50.0, 7, {}), Registry(True, "no leader", 40.0, 30.0, 3, {"unreachable": 1})
    merge.registry([good, stale], state)
    assert (state.answered, state.stale, state.since, state.changed) == (True, "no leader", 40.0, 50.0)
    assert (state.updates, state.failures) == (7, {"unreachable": 1})


def test_queues_and_predictions_are_joined():
    one, other = document(), document()
    one.pools[0] = replace(one.pools[0], queued=3, queued_seconds=1.5, oldest_wait_seconds=0.2)
    other.pools[0] = replace(other.pools[0], queued=1, queued_seconds=0.5, oldest_wait_seconds=0.9)
    waiting = merge.waiting([one, other])["light"]
    assert (waiting.count, waiting.work_ms, waiting.oldest_seconds) == (4, 2000.0, 0.9)
    assert merge.prediction_errors([{"a": 0.2}, {"a": 0.4, "b": 0.1}]) == {"a": 0.30000000000000004, "b": 0.1}


def test_quantiles_of_all_are_those_of_all_requests():
    slots = [Slot(seconds=1.0), Slot(seconds=1.0)]
    for slot, index in zip(slots, (10, 40), strict=True):
        slot.light[index] = 100
        slot.ok = 100
    together = Slot(seconds=1.0)
    for slot in slots:
        together.add(msgspec.msgpack.decode(msgspec.msgpack.encode(slot), type=Slot))
    window, low, high = summarise([together]), summarise(slots[:1]), summarise(slots[1:])
    assert (window.ok, window.per_second, window.light.count) == (200, 200.0, 200)
    assert low.light.p50 is not None
    assert window.light.p99 == high.light.p99 or window.light.p99 > low.light.p99


def exposed(*counts: int, gauge: float = 1.0, node: str = "light-1") -> list[Family]:
    """What a process says that counted so, as it travels."""
    registry = CollectorRegistry()
    requests = Counter("requests", "All.", ["node"], registry=registry)
    durations = Histogram("seconds", "How long.", buckets=(1.0, 2.0), registry=registry)
    Gauge("process_resident_memory_bytes", "Memory.", registry=registry).set(gauge)
    Gauge("speed", "Of something.", registry=registry).set(gauge)
    for count in counts:
        requests.labels(node).inc(count)
        durations.observe(1.5, {"request_id": f"r{count}"})
    return msgspec.msgpack.decode(msgspec.msgpack.encode(families_of(registry.collect())), type=list[Family])


def values(families: list[Family]) -> dict[str, float]:
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_counters_and_histograms_are_added_and_gauges_as_each_needs():
    said = values(added([exposed(3, gauge=10.0), exposed(4, 5, gauge=30.0)]))
    assert said["requests_total"] == 12
    assert said["seconds_count"] == 3
    assert said["seconds_sum"] == 4.5
    assert said["process_resident_memory_bytes"] == 40.0
    assert said["speed"] == 30.0


def test_what_the_dead_had_counted_stays_but_not_of_nodes_that_left():
    def left(nodes: frozenset[str]) -> list[Family]:
        return [kept for each in exposed(7) if (kept := remains(each, nodes)) is not None]

    dead = left(frozenset({"light-1"}))
    assert values(added([exposed(1), dead]))["requests_total"] == 8
    assert "speed" not in values(dead)
    assert "requests_total" not in values(left(frozenset()))


def test_the_sum_is_a_good_exposition_with_exemplars():
    class Fixed:
        def collect(self) -> list[Any]:
            return list(shown(added([exposed(3), exposed(4, 5)]), {}))

    encoder, content_type = choose_encoder("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    page = encoder(Fixed()).decode()  # type: ignore[arg-type]
    assert 'seconds_bucket{le="2.0"} 3.0 # {request_id="r5"} 1.5' in page
    assert {family.name for family in text_string_to_metric_families(page)} >= {"requests", "seconds", "speed"}


def test_limits_of_the_whole_are_divided_and_those_of_a_client_are_not():
    config = GatewayConfig(
        workers=Workers(count=4),
        limits=Limits(connections=10, connections_per_client=6, buffered_bytes=400 << 20),
        routing=Routing(queue_requests=1000, queue_bytes=4000),
        log=Log(access_rate=100.0),
    )
    each = share(config)
    assert (each.limits.connections, each.limits.connections_per_client) == (3, 6)
    assert (each.limits.buffered_bytes, each.limits.body_bytes) == (100 << 20, config.limits.body_bytes)
    assert (each.routing.queue_requests, each.routing.queue_bytes) == (250, 1000)
    assert each.log.access_rate == 25.0
    assert share(GatewayConfig()) == GatewayConfig()


def test_what_differs_is_named_and_only_that_is_taken_over():
    before = GatewayConfig()
    after = replace(before, routing=replace(before.routing, aging=5.0), limits=replace(before.limits, body_bytes=4096))
    changes = list(live.changes(before, after))
    assert sorted(changes) == ["limits.body_bytes", "routing.aging"]
    assert [live.is_live(option) for option in sorted(changes)] == [False, True]
    running = replace(before.routing, oversize_pixels=77)  # an operator's order
    taken = live.routing(running, before, after)
    assert (taken.aging, taken.oversize_pixels) == (5.0, 77)


def test_only_orders_that_still_hold_are_told_to_newcomers():
    orders = Orders()
    why = {"reason": "a test"}
    orders.noted("a", "drain", why)
    orders.noted("a", "weight", {**why, "weight": 0.5})
    orders.noted("b", "eject", why)
    orders.noted("b", "restore", why)
    orders.noted("gone", "drain", why)
    orders.noted("c/d", "weight", {**why, "weight": 2.0})
    orders.rerouted({**why, "policy": "p2c", "oversize_pixels": None})
    orders.rerouted({**why, "oversize_pixels": 5})
    told = [standing.path for standing in orders.standing(["a", "b", "c/d"])]
    assert told == [
        "/api/nodes/a/drain",
        "/api/nodes/a/weight",
        "/api/nodes/c%2Fd/weight",
        "/api/routing",
        "/api/routing",
    ]
    orders.noted("a", "undrain", why)
    orders.noted("a", "weight", {**why, "weight": 1.0})
    orders.configured(["routing.policy"])
    assert [standing.path for standing in orders.standing(["a", "b", "c/d"])] == [told[2], "/api/routing"]
    after = Orders()
    after.restore(*orders.all())
    assert list(after.standing(["c/d"])) == list(orders.standing(["c/d"]))


def test_the_fewest_connections_are_those_of_the_living(tmp_path):
    mine = Loads.make(tmp_path / "loads")
    theirs = Loads(tmp_path / "loads")
    assert mine.fewest() == 0
    mine.set(0, 5)
    theirs.set(3, 2)
    assert mine.fewest() == 2
    theirs.leave(3)
    assert mine.fewest() == 5
    mine.close()
    theirs.close()


def test_an_outcome_travels_as_a_slot_and_a_brief():
    desk = Desk(GatewayConfig())
    desk.journal.finished(outcome())
    desk.journal.tick(1.0, 1.0, _gauges())
    ticks, slots = desk.journal.closed_since(0)
    assert (ticks, len(slots), slots[0].ok) == (1, 1, 1)
    assert desk.journal.closed_since(ticks) == (1, [])


def _gauges() -> Any:
    from gateway.journal import Gauges

    return Gauges(busy=0, capacity=1, queued=0, usable=1)
