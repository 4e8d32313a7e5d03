"""Nodes that are slow, grey, failing or returning, under load: what the real code does with them."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.config import Routing
from loadtest.simulate.machines import FLEETS, FleetPlan
from loadtest.simulate.questions import ENDLESS
from loadtest.simulate.results import Result, summarise
from loadtest.simulate.synthetic import Mix, draw
from loadtest.simulate.world import Options, Record, World

LOAD = draw(Mix(requests=8000, utilisation=0.6), FLEETS["A"].power)
ROUTING = Routing(**ENDLESS)
BAD = "light-4"


def run(fleet: FleetPlan) -> tuple[World, list[Record], Result]:
    world = World(LOAD, fleet, Options(routing=ROUTING, shed=False))
    records = world.run()
    return world, records, summarise("run", records, 250.0, 2500.0)


def shares(records: list[Record], after: float) -> dict[str, float]:
    counts = Counter(record.node for record in records if record.arrival.at >= after)
    return {name: count / sum(counts.values()) for name, count in counts.items()}


def test_a_grey_node_that_takes_a_second_longer_gets_hardly_anything():
    """B7: its share at most 5 % after 10 s, p99 of all at most twice the baseline."""
    _, healthy_records, healthy = run(FLEETS["A"])
    _, records, result = run(FLEETS["A"].changed(BAD, delay=1.0))
    fair = shares(healthy_records, 10.0)[BAD]
    assert shares(records, 10.0).get(BAD, 0.0) < min(0.05, fair / 3)
    assert result.light.p99 <= 2 * healthy.light.p99
    assert result.heavy.p99 <= 2 * healthy.heavy.p99


def test_a_node_that_fails_at_once_is_no_black_hole():
    """The sinkhole: always idle, always first, always wrong."""
    world, records, result = run(FLEETS["A"].changed(BAD, fails=True))
    sinkhole = world.fleet.backends[BAD]
    assert sinkhole.answers == 0
    assert sinkhole.requests < 0.005 * len(records)
    assert all(record.finish < float("inf") for record in records)
    assert result.light.within > 0.99


def test_a_third_of_the_light_pool_failing_costs_capacity_and_hardly_a_request():
    fleet = FLEETS["A"]
    for number in range(4):
        fleet = fleet.changed(f"light-{number}", fails=True)
    world, records, _ = run(fleet)
    # Before anything is known about them, one request may meet three of them in a row.
    assert sum(record.finish == float("inf") for record in records) <= 3
    attempts = sum(backend.requests for backend in world.fleet.backends.values())
    assert attempts <= 1.02 * len(records)


def test_every_node_failing_is_refused_and_not_tried_for_ever():
    """B21: attempts stay bounded, and refusals come at once."""
    fleet = FLEETS["B"]
    for machine in fleet.machines:
        fleet = fleet.changed(machine.name, fails=True)
    world, records, result = run(fleet)
    assert result.refused == 1.0
    assert sum(backend.requests for backend in world.fleet.backends.values()) <= 3 * len(records)
    assert len(world.scheduler.queue) == 0


@pytest.mark.parametrize("factor", [3.0, 8.0])
def test_a_slow_node_is_learned_and_given_what_it_can_do(factor):
    _, _, healthy = run(FLEETS["A"])
    world, _, result = run(FLEETS["A"].slowed("heavy", factor))
    # The slower it is, the less it is asked and the longer learning takes.
    assert 0.85 / factor < world.fleet.backends["heavy-0"].speed / 2.0 < 2.5 / factor
    assert result.light.p99 <= 1.5 * healthy.light.p99
    assert result.within > 0.98


def test_a_node_that_comes_back_under_load_is_taken_up_slowly():
    """B16: no work sent ahead in its first ten seconds, and never more than its slots and one."""
    world = World(LOAD, FLEETS["A"], Options(routing=ROUTING, shed=False))
    back = world.fleet.backends[BAD]
    for now in (0.0, 0.0):
        world.fleet.probed(BAD, False, now, "refused")
    seen: list[tuple[float, int]] = []
    world.at(10.0, lambda: world.fleet.probed(BAD, True, 10.0))
    for tick in range(1, 400):
        world.at(10.0 + tick * 0.05, lambda tick=tick: seen.append((tick * 0.05, back.in_flight)))
    world.run()
    assert max(held for after, held in seen if after < 9.9) == 1
    assert max(held for _, held in seen) <= 2
    assert back.answers > 100


@pytest.mark.parametrize("tells", [1e-6, 0.1, 10.0, 1e9])
def test_a_node_that_lies_about_its_times_is_no_black_hole_and_harms_nobody(tells):
    """Faster than physics: its speed is believed up to ten times, and the time that is missing counts as lag."""
    _, honest_records, honest = run(FLEETS["A"])
    world, records, result = run(FLEETS["A"].changed(BAD, tells=tells))
    liar = world.fleet.backends[BAD]
    assert liar.nominal / 10 <= liar.speed <= liar.nominal * 10
    assert shares(records, 10.0).get(BAD, 0.0) < 3 * shares(honest_records, 10.0)[BAD]
    assert result.light.within > honest.light.within - 0.01
    assert result.heavy.within > honest.heavy.within - 0.01
    assert all(record.finish < float("inf") for record in records)
