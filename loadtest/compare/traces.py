"""The arrivals of a scenario: the simulator's own made-up loads, typical ones of their seed, or a recorded trace."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import msgspec

from loadtest.compare import images
from loadtest.compare.contenders import OVERSIZE_PIXELS
from loadtest.compare.scenarios import Scenario
from loadtest.simulate.arrivals import Arrival, Load
from loadtest.simulate.recorded import BadTrace, load_of, read
from loadtest.simulate.synthetic import Mix, draw

# A short trace may by luck hold a tenth more work than its recipe says; of so many seeds the most typical is taken.
SEEDS = 60
CLOSE = 0.003  # near enough in both respects to look no further


def trace(scenario: Scenario, seconds: float, seed: int, power: float) -> Load:
    """Arrivals for about so many seconds at full speed, bodies as small as ours are."""
    mix = Mix(utilisation=scenario.utilisation, bursty=scenario.bursty, oversized=scenario.oversized, seed=seed)
    count = ceil(seconds * scenario.utilisation * power / mix.mean_seconds())
    best, off = None, float("inf")
    for luck in range(SEEDS):
        load = draw(msgspec.structs.replace(mix, requests=count, seed=seed * 1000 + luck), power)
        missed = _off(load, scenario, power)
        if missed < off:
            best, off = load, missed
        if off < CLOSE:
            break
    assert best is not None
    return msgspec.structs.replace(best, arrivals=[_small(each) for each in best.arrivals])


def recorded(path: Path, utilisation: float, power: float) -> Load:
    """A gateway's own trace, squeezed or stretched in time to load a fleet of such power. Raises BadTrace.

    Classes and promised work are this fleet's: what the recorded one thought of an image is not what ours would.
    """
    seen = load_of(read(path), path.name)
    arrivals = [each for each in seen.arrivals if each.pixels > 0]
    load = msgspec.structs.replace(seen, arrivals=arrivals)
    pace = load.utilisation(power) / utilisation
    if pace <= 0.0:
        raise BadTrace(f"{path}: two images or more are needed")
    return msgspec.structs.replace(load, arrivals=[_ours(each, pace) for each in arrivals])


def _ours(arrival: Arrival, pace: float) -> Arrival:
    heavy, cost = arrival.pixels > OVERSIZE_PIXELS, images.work_ms(arrival.pixels, 1.0)
    return _small(msgspec.structs.replace(arrival, at=arrival.at * pace, heavy=heavy, cost_ms=cost))


def _off(load: Load, scenario: Scenario, power: float) -> float:
    """How far a trace is from its recipe: the larger of work and of the share of work that is oversized."""
    heavy = sum(each.actual_ms for each in load.arrivals if each.heavy)
    total = sum(each.actual_ms for each in load.arrivals)
    mix = Mix(oversized=scenario.oversized)
    wanted = mix.oversized * mix.factor / (1 + mix.oversized * (mix.factor - 1))
    return max(abs(load.utilisation(power) / scenario.utilisation - 1), abs(heavy / total / wanted - 1))


def _small(arrival: Arrival) -> Arrival:
    return msgspec.structs.replace(arrival, body_bytes=images.body_bytes(arrival.pixels))
