"""The index finds what looking at every node would find, and looks at few."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.balancing import earliest_finish
from gateway.lease import Lease
from gateway.shelves import LOOK, earliest_busy, next_finish, soonest
from tests.fakes.routing import fleet_of, node, ticket

NOBODY: frozenset[str] = frozenset()
LEAD = 0.05


class NoKeeper:
    """Backends count by themselves here."""


nodes_strategy = st.lists(
    st.tuples(
        st.floats(0.2, 8.0),  # speed
        st.integers(1, 3),  # capacity
        st.lists(st.floats(1.0, 500.0), max_size=4),  # costs of what it holds
        st.sampled_from([0.0, 0.0, 0.0, 0.5]),  # lag
    ),
    min_size=1,
    max_size=LOOK,
)


def crowd(described):
    fleet = fleet_of(
        *(node(f"l{number}", speed=speed, capacity=slots) for number, (speed, slots, _, _) in enumerate(described))
    )
    for number, (_, slots, costs, lag) in enumerate(described):
        backend = fleet.backends[f"l{number}"]
        backend.lag = lag
        for cost in costs[: slots + 1]:
            backend.claim(Lease(NoKeeper(), ticket(cost_ms=cost), 0.0, backend, 0.0, 0.0, ""), 0.0)
        fleet.settle(backend)
    return fleet, fleet.reach("m", "", 1).light


@settings(max_examples=300)
@given(nodes_strategy, st.floats(1.0, 2000.0), st.floats(0.0, 0.3))
def test_the_soonest_on_the_shelves_is_the_soonest_of_all_within_five_percent(described, cost_ms, now):
    fleet, groups = crowd(described)
    able = [
        each
        for each in fleet.backends.values()
        if each.open or (each.in_flight <= each.capacity and each.free_in(now) <= LEAD)
    ]
    found = soonest(groups, cost_ms, now, LEAD, NOBODY)
    if not able:
        assert found is None
        return
    best = earliest_finish(able, cost_ms, now, Random(1))
    finish = best.free_in(now) + cost_ms * best.next_ms + best.lag
    assert found is not None
    assert found[0] in able
    assert found[2] - now <= finish + 0.12 * cost_ms * best.next_ms + 1e-9


@given(nodes_strategy, st.floats(1.0, 2000.0), st.floats(0.0, 0.3))
def test_the_next_finish_is_that_of_any_node_however_busy(described, cost_ms, now):
    fleet, groups = crowd(described)
    best = min(each.free_in(now) + cost_ms * each.next_ms + each.lag for each in fleet.backends.values())
    found = next_finish(groups, cost_ms, now, NOBODY, 1e9) - now
    assert best - 1e-6 <= found <= 1.15 * best + 1e-6
    assert next_finish(groups, cost_ms, now, NOBODY, now + best / 2) == float("inf")


def test_tried_nodes_are_not_found():
    _, groups = crowd([(1.0, 1, [], 0.0), (2.0, 1, [], 0.0)])
    assert soonest(groups, 10.0, 0.0, LEAD, frozenset({"l1"}))[0].id == "l0"
    assert soonest(groups, 10.0, 0.0, LEAD, frozenset({"l0", "l1"})) is None
    assert next_finish(groups, 10.0, 0.0, frozenset({"l0", "l1"}), 1e9) == float("inf")


def test_a_node_that_hangs_comes_after_one_that_is_a_little_late():
    fleet, _ = crowd([(1.0, 1, [10.0], 0.0), (1.0, 1, [95.0], 0.0), (1.0, 1, [130.0], 0.0)])
    peers = fleet.backends["l0"].peers
    order, tried = [], set()
    while (found := earliest_busy(peers.full, 0.001, 10.0, 0.1, 9.0, 99.0, frozenset(tried))) is not None:
        order.append((found[0].id, round(found[1], 3)))
        tried.add(found[0].id)
    assert order == [("l1", 0.105), ("l2", 0.13), ("l0", 0.19)]


def test_few_nodes_are_looked_at_however_many_there_are():
    """A far faster node at the end of a long shelf is not found: that is the price, and it is stated."""
    described = [(1.0, 1, [50.0 + number * 0.001], 0.0) for number in range(1000)]
    described += [(8.0, 1, [8 * 60.0], 0.0)]
    _, groups = crowd(described)
    assert soonest(groups, 1000.0, 0.0, 1.0, NOBODY)[0].id in {f"l{number}" for number in range(LOOK)}


def test_equally_fast_idle_nodes_take_turns_by_chance():
    fleet, groups = crowd([(1.0, 1, [], 0.0)] * 8)
    taken = set()
    for _ in range(200):
        backend = soonest(groups, 10.0, 0.0, LEAD, NOBODY)[0]
        taken.add(backend.id)
        fleet.settle(backend)
    assert len(taken) == 8


def test_of_nodes_with_several_slots_the_emptiest_is_taken():
    _, groups = crowd([(1.0, 3, [100.0, 100.0], 0.0), (1.0, 3, [100.0], 0.0), (1.0, 3, [100.0, 100.0], 0.0)])
    assert soonest(groups, 10.0, 0.0, LEAD, NOBODY)[0].id == "l1"
