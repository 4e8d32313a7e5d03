"""The simulation of our real code agrees with an independent simulator of the same rules, on the same draws.

The figures are those of the oracle simulator beside the project's routing evidence (a single-file discrete-event
simulation that shares no code with ours): trace(20000, load, 24, seed 1, ...) and Sim(...).go() with order age:3, cap
0.34, gate 0.5, lead 0.05, eft on, shed "deadline" where shedding is on; policies uni, pools, lc. Seconds times 1000.
"""

from __future__ import annotations

import pytest

from gateway.config import Routing
from loadtest.simulate.machines import FLEETS
from loadtest.simulate.questions import ENDLESS
from loadtest.simulate.results import Result, summarise
from loadtest.simulate.synthetic import Mix, draw
from loadtest.simulate.world import Options, simulate

# fleet, mix, options, routing -> light p50, p99, within; heavy p50, within; mean; refused
CASES = {
    "80 %": (
        ("A", {"utilisation": 0.8}, {"shed": True}, {}),
        (41.8, 135.5, 0.9995, 475.4, 1.0000, 72.3, 0.0002),
    ),
    "95 %": (
        ("A", {"utilisation": 0.95}, {"shed": True}, {}),
        (61.2, 227.9, 0.9929, 550.3, 0.9922, 99.1, 0.0035),
    ),
    "130 %": (
        ("A", {"utilisation": 1.3}, {"shed": True}, {}),
        (82.6, float("inf"), 0.9635, 1409.2, 0.7483, 137.8, 0.0316),
    ),
    "bursts": (
        ("A", {"utilisation": 0.6, "bursty": True}, {"shed": True}, {}),
        (35.2, 211.0, 0.9937, 470.2, 0.9833, 73.4, 0.0045),
    ),
    "10 % oversized": (
        ("A", {"utilisation": 0.8, "oversized": 0.10}, {"shed": True}, {}),
        (42.5, 144.0, 0.9985, 547.2, 0.9938, 109.4, 0.0010),
    ),
    "a small fleet": (
        ("B", {"utilisation": 0.8}, {"shed": True}, {}),
        (49.8, 200.7, 0.9954, 390.5, 0.9900, 79.4, 0.0026),
    ),
    "hard walls": (
        (
            "A",
            {"utilisation": 0.8},
            {"shed": False},
            {"spill_light_to_heavy": False, "spill_heavy_to_light": False},
        ),
        (47.9, 140.6, 0.9997, 475.9, 0.9989, 79.1, 0.0),
    ),
    "hard walls and the wrong mix": (
        (
            "A",
            {"utilisation": 0.8, "oversized": 0.02},
            {"shed": False},
            {"spill_light_to_heavy": False, "spill_heavy_to_light": False},
        ),
        (4708.6, 9033.0, 0.0, 433.7, 1.0, 4795.6, 0.0),
    ),
    "as a proxy: least connections, nodes queue": (
        (
            "A",
            {"utilisation": 0.8},
            {"shed": False, "early": True, "pools": False},
            {"policy": "least_connections"},
        ),
        (37.2, 714.5, 0.9515, 580.6, 1.0, 98.5, 0.0),
    ),
}


def simulated(fleet: str, mix: dict, options: dict, routing: dict) -> Result:
    plan = FLEETS[fleet]
    load = draw(Mix(requests=20_000, seed=1, **mix), plan.power)
    records = simulate(load, plan, Options(routing=Routing(**ENDLESS, **routing), **options))
    return summarise("ours", records, 250.0, 2500.0)


@pytest.mark.parametrize("case", CASES)
def test_our_simulation_agrees_with_the_oracle(case):
    asked, (p50, p99, within, heavy_p50, heavy_within, mean, refused) = CASES[case]
    ours = simulated(*asked)
    # Seeds move small p99 by about 7 %, and by more near saturation; random ties do the same to one seed. In bursts the
    # oracle favours light work a little: when it drops the head of its heap, the next one gets that node unasked, be it
    # a heavy node that an older heavy request waits for.
    assert ours.light.p50 == pytest.approx(p50, rel=0.06)
    assert ours.light.p99 == pytest.approx(p99, rel=0.25 if case == "bursts" else 0.15)
    assert ours.heavy.p50 == pytest.approx(heavy_p50, rel=0.1)
    assert ours.mean == pytest.approx(mean, rel=0.06)
    assert ours.light.within == pytest.approx(within, abs=0.005)
    assert ours.heavy.within == pytest.approx(heavy_within, abs=0.025)
    # We drop at the moment of hopelessness, the oracle at the head of the heap only: a little more is refused.
    assert refused - 0.002 <= ours.refused <= 2 * refused + 0.003


def test_the_draws_are_the_oracles():
    """Its trace(20000, .8, 24, 1): last arrival, and the 77th request's predicted and true seconds."""
    load = draw(Mix(requests=20_000, utilisation=0.8, seed=1), FLEETS["A"].power)
    one = load.arrivals[77]
    assert load.arrivals[-1].at == pytest.approx(92.83997068930512, rel=1e-9)
    assert one.cost_ms == pytest.approx(22.330876697280587, rel=1e-9)
    assert one.actual_ms == pytest.approx(20.25309207418212, rel=1e-9)
