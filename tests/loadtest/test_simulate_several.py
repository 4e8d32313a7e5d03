"""Several gateways in the simulated world: nothing is lost, nothing stays held, and they do nearly as well as one."""

from __future__ import annotations

import json
import math

import pytest

from fleetgate.main import main
from loadtest.simulate.machines import FLEETS, FleetPlan, Machine
from loadtest.simulate.results import Result, summarise
from loadtest.simulate.several import Several
from loadtest.simulate.synthetic import Mix, draw
from loadtest.simulate.world import Options, simulate

FLEET = FLEETS["A"]
LOAD = draw(Mix(requests=6000, utilisation=0.8, seed=2), FLEET.power)


def together(gateways: int, latency: float, streams: bool = True) -> tuple[Several, Result]:
    world = Several(LOAD, FLEET, Options(gateways=gateways, latency=latency), streams)
    return world, summarise("several", world.run(), 250.0, 2500.0)


@pytest.fixture(scope="module")
def one() -> Result:
    return summarise("one", simulate(LOAD, FLEET, Options()), 250.0, 2500.0)


@pytest.mark.parametrize(("gateways", "latency"), [(4, 0.0005), (4, 0.002), (16, 0.0005)])
def test_gateways_that_ask_serve_small_work_nearly_as_one(gateways: int, latency: float, one: Result) -> None:
    world, result = together(gateways, latency)
    assert result.light.p99 <= 1.4 * one.light.p99
    assert result.heavy.p99 <= 1.4 * one.heavy.p99
    assert result.within >= one.within - 0.003
    assert world.refused < 0.06 * len(LOAD.arrivals)
    for place in world.places.values():
        assert place.credits.stays == []
    for door in world.doors:
        assert len(door.scheduler.queue) == 0
        assert not door.asked
        assert all(each.open and not each.in_flight for each in door.fleet.backends.values())


@pytest.mark.parametrize(("gateways", "within"), [(4, 0.98), (16, 0.9)])
def test_by_reports_alone_gateways_do_worse_but_do_not_herd(gateways: int, within: float, one: Result) -> None:
    """The earliest finish, which all would run for, leaves 96 % in time with 4 gateways and 65 % with 16."""
    _, result = together(gateways, 0.0005, streams=False)
    assert result.light.p99 > 1.4 * one.light.p99
    assert result.within > within


def test_one_gateway_asks_nobody() -> None:
    world, _ = together(1, 0.0005)
    assert (world.asks, world.refused, world.lines) == (0, 0, len(FLEET.machines))


def test_nodes_with_several_slots_are_shared_too() -> None:
    plan = FleetPlan(machines=tuple(Machine(name=f"light-{n}", pool="light", speed=1.0, slots=4) for n in range(4)))
    load = draw(Mix(requests=4000, utilisation=0.8, oversized=0.0), plan.power)
    endless = Options(shed=False)
    world = Several(load, plan, Options(shed=False, gateways=3))
    alone = summarise("one", simulate(load, plan, endless), 250.0, 2500.0)
    result = summarise("several", world.run(), 250.0, 2500.0)
    assert result.light.p99 <= 1.4 * alone.light.p99
    assert all(math.isfinite(record.finish) for record in world.records)


def test_the_command_asks_for_several_gateways(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--requests", "600", "--utilisation", "0.5", "--json", "--gateways"]
    assert main([*words, "3"]) == 0
    (_, three) = json.loads(capsys.readouterr().out)
    assert three["result"]["refused"] == 0.0
    assert main([*words, "0"]) == 2
    assert main([*words, "2", "--latency", "-1"]) == 2
    assert main([*words, "2", "--early", "--policy", "random"]) == 2
