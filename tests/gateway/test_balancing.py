"""Policies over all orders of loads, and by their shares over thousands of picks."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from random import Random

import pytest

from gateway.backend import Backend
from gateway.balancing import POLICIES
from gateway.config import Health
from gateway.lease import Lease
from tests.fakes.routing import node, ticket

PICKS = 6000


class NoKeeper:
    """Backends count by themselves here."""


def nodes(*loads: int, speeds: tuple[float, ...] = ()) -> list[Backend]:
    """Nodes that hold so many requests of 100 ms each."""
    made = []
    for number, load in enumerate(loads):
        speed = speeds[number] if speeds else 1.0
        one = Backend(node(f"n{number}", capacity=1, speed=speed), Health(), 0.0, number)
        for _ in range(load):
            one.claim(Lease(NoKeeper(), ticket(cost_ms=100), 0.0, one, 0.0, 0.0, ""), 0.0)
        made.append(one)
    return made


def shares(policy: str, among: list[Backend], cost_ms: float = 50.0) -> dict[str, float]:
    rng = Random(7)
    counts = Counter(POLICIES[policy](among, cost_ms, 0.0, rng).id for _ in range(PICKS))
    return {each.id: counts[each.id] / PICKS for each in among}


@pytest.mark.parametrize("policy", ["least_connections", "least_work", "earliest_finish"])
def test_the_least_loaded_wins_in_every_order_of_loads(policy):
    for loads in permutations([0, 1, 2, 3]):
        among = nodes(*loads)
        assert POLICIES[policy](among, 50.0, 0.0, Random(1)).in_flight == 0


@pytest.mark.parametrize("policy", ["p2c", "p2c_connections"])
def test_of_two_choices_the_most_loaded_is_never_taken(policy):
    for loads in permutations([0, 1, 3]):
        among = nodes(*loads)
        rng = Random(1)
        assert all(POLICIES[policy](among, 50.0, 0.0, rng).in_flight < 3 for _ in range(300))


@pytest.mark.parametrize("policy", ["p2c", "p2c_connections"])
def test_two_choices_of_two_are_both_looked_at(policy):
    """Drawing with replacement would pick the busier of two a quarter of the time."""
    assert shares(policy, nodes(2, 0)) == {"n0": 0.0, "n1": 1.0}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_equals_get_equal_shares(policy):
    for share in shares(policy, nodes(1, 1, 1, 1)).values():
        assert share == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_single_node_is_always_taken(policy):
    assert shares(policy, nodes(1)) == {"n0": 1.0}


@pytest.mark.parametrize("policy", ["random", "round_robin"])
def test_blind_policies_share_by_announced_speed(policy):
    found = shares(policy, nodes(0, 0, 0, speeds=(1.0, 2.0, 1.0)))
    assert found["n1"] == pytest.approx(0.5, abs=0.03)


def test_round_robin_takes_each_in_turn():
    among = nodes(0, 0, 0)
    rng = Random(1)
    picks = [POLICIES["round_robin"](among, 1.0, 0.0, rng).id for _ in range(9)]
    assert sorted(picks[:3]) == sorted(picks[3:6]) == ["n0", "n1", "n2"]


def test_round_robin_gives_no_flood_to_a_node_that_was_away():
    among = nodes(0, 0, 0)
    rng = Random(1)
    for _ in range(300):
        POLICIES["round_robin"](among[:2], 1.0, 0.0, rng)
    picks = Counter(POLICIES["round_robin"](among, 1.0, 0.0, rng).id for _ in range(30))
    assert picks["n2"] <= 12


def test_a_big_request_waits_for_the_fast_node_and_a_small_one_does_not():
    slow, fast = nodes(0, 1, speeds=(1.0, 4.0))  # the fast one is free in 25 ms
    rng = Random(1)
    assert POLICIES["earliest_finish"]([slow, fast], 10.0, 0.0, rng) is slow
    assert POLICIES["earliest_finish"]([slow, fast], 1000.0, 0.0, rng) is fast
    assert POLICIES["least_work"]([slow, fast], 1000.0, 0.0, rng) is slow


def test_a_node_that_fails_fast_is_left_for_one_that_answers():
    good, sinkhole = nodes(1, 0)
    for _ in range(3):
        sinkhole.erred("node-garbage", 0.0)
    assert POLICIES["earliest_finish"]([good, sinkhole], 50.0, 0.0, Random(1)) is good


def test_the_table_has_the_names_that_operators_know():
    assert {"random", "round_robin", "least_connections", "p2c", "least_work", "earliest_finish"} <= POLICIES.keys()
