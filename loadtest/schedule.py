"""How a load changes over time: phases whose rate goes straight from one value to another, and the times of arrivals.

The same schedules move Locust's users (loadtest/shapes) and the open loop's arrivals (loadtest/openloop). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import cos, pi, sqrt
from random import Random

import msgspec


class Phase(msgspec.Struct, frozen=True):
    """A part of a run. Rates are requests a second (or users) at its beginning and at its end."""

    name: str
    seconds: float
    start: float
    end: float

    @property
    def requests(self) -> float:
        """How many arrivals it holds on average."""
        return self.seconds * (self.start + self.end) / 2


def steady(peak: float, seconds: float) -> list[Phase]:
    """One rate from beginning to end."""
    return [Phase("steady", seconds, peak, peak)]


def steps(peak: float, seconds: float, count: int = 5) -> list[Phase]:
    """Up to the peak in equal steps."""
    return [Phase(f"step {n}", seconds / count, peak * n / count, peak * n / count) for n in range(1, count + 1)]


def spike(peak: float, seconds: float) -> list[Phase]:
    """A quarter of the peak, all of it for a fifth of the time, a quarter again."""
    low = peak / 4
    return [
        Phase("before", seconds * 0.4, low, low),
        Phase("spike", seconds * 0.2, peak, peak),
        Phase("after", seconds * 0.4, low, low),
    ]


def soak(peak: float, seconds: float, count: int = 6) -> list[Phase]:
    """Up slowly, then the same for long; the parts show whether anything creeps."""
    ramp, part = seconds * 0.05, seconds * 0.95 / count
    return [Phase("ramp", ramp, 0.0, peak), *(Phase(f"part {n}", part, peak, peak) for n in range(1, count + 1))]


def diurnal(peak: float, seconds: float) -> list[Phase]:
    """A day in miniature: a fifth of the peak at four in the morning, all of it at four in the afternoon."""

    def rate(hour: float) -> float:
        return peak * (0.6 - 0.4 * cos((hour - 4) * pi / 12))

    return [Phase(f"{hour:02}:00", seconds / 24, rate(hour), rate(hour + 1)) for hour in range(24)]


def knee(peak: float, seconds: float) -> list[Phase]:
    """Ten steps up to the peak; whoever drives them stops at the first that the target does not bear."""
    return steps(peak, seconds, 10)


SCHEDULES: dict[str, Callable[[float, float], list[Phase]]] = {
    "steady": steady,
    "steps": steps,
    "spike": spike,
    "soak": soak,
    "diurnal": diurnal,
    "knee": knee,
}


def phase_at(phases: Sequence[Phase], at: float) -> int | None:
    """The number of the phase in progress `at` seconds after the start; None when all are over."""
    ends = accumulate(phase.seconds for phase in phases)
    return next((number for number, end in enumerate(ends) if at < end), None)


def rate_at(phases: Sequence[Phase], at: float) -> float:
    """The rate `at` seconds after the start; 0 when all is over."""
    for phase in phases:
        if at < phase.seconds:
            return phase.start + (phase.end - phase.start) * at / phase.seconds
        at -= phase.seconds
    return 0.0


def arrivals(phases: Sequence[Phase], rng: Random | None) -> Iterator[tuple[float, int]]:
    """(seconds from the start, number of the phase) of every request, in order; drawn as they are asked for.

    With `rng` they come as independent users do (Poisson), without it evenly spaced. An arrival is due when the
    integral of the rate has grown by 1, or by an exponential draw: exact for any straight line (Cinlar 1975).
    """
    begin, due = 0.0, _gap(rng, 0.5)
    for number, phase in enumerate(phases):
        while due <= phase.requests:
            yield begin + _when(phase, due), number
            due += _gap(rng, 1.0)
        due -= phase.requests
        begin += phase.seconds


def _gap(rng: Random | None, even: float) -> float:
    return even if rng is None else rng.expovariate(1.0)


def _when(phase: Phase, amount: float) -> float:
    """When a phase has seen `amount` arrivals: start*t + slope*t*t/2 = amount, in the form that divides by no zero."""
    slope = (phase.end - phase.start) / phase.seconds
    return 2 * amount / (phase.start + sqrt(max(0.0, phase.start**2 + 2 * slope * amount)))
