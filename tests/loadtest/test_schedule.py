"""Schedules: how the rate moves, and when requests are due."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from loadtest.schedule import SCHEDULES, Phase, arrivals, phase_at, rate_at, spike, steady, steps


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_lasts_as_long_as_asked_and_reaches_its_peak_but_never_more(name: str) -> None:
    plan = SCHEDULES[name](80.0, 120.0)
    assert sum(phase.seconds for phase in plan) == pytest.approx(120.0)
    rates = [rate for phase in plan for rate in (phase.start, phase.end)]
    assert max(rates) == pytest.approx(80.0)
    assert min(rates) >= 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_as_many_requests_are_due_as_the_rate_promises_and_in_order(name: str) -> None:
    plan = SCHEDULES[name](50.0, 200.0)
    wanted = sum(phase.requests for phase in plan)
    even = list(arrivals(plan, None))
    assert len(even) == pytest.approx(wanted, abs=1)
    drawn = list(arrivals(plan, Random(3)))
    assert len(drawn) == pytest.approx(wanted, abs=5 * wanted**0.5)
    for found in (even, drawn):
        assert all(a <= b for a, b in pairwise(due for due, _ in found))
        assert found[-1][0] <= 200.0
        assert all(phase_at(plan, due - 1e-9) == number or phase_at(plan, due) == number for due, number in found)


def test_even_arrivals_are_evenly_spaced() -> None:
    due = [at for at, _ in arrivals(steady(10.0, 5.0), None)]
    assert [b - a for a, b in pairwise(due)] == pytest.approx([0.1] * 49)


def test_gaps_of_independent_users_vary_as_much_as_their_mean() -> None:
    due = [at for at, _ in arrivals(steady(100.0, 100.0), Random(1))]
    gaps = [b - a for a, b in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.01, rel=0.05)
    assert spread == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize(("start", "end"), [(0.0, 40.0), (40.0, 0.0), (10.0, 30.0)])
def test_a_ramp_puts_its_requests_where_its_rate_is(start: float, end: float) -> None:
    plan = [Phase("ramp", 100.0, start, end)]
    due = [at for at, _ in arrivals(plan, None)]
    first_half = (start + (start + end) / 2) / 2 * 50
    assert sum(at < 50 for at in due) == pytest.approx(first_half, abs=1)


def test_a_phase_without_load_holds_nothing() -> None:
    plan = [Phase("a", 1.0, 10.0, 10.0), Phase("pause", 5.0, 0.0, 0.0), Phase("b", 1.0, 10.0, 10.0)]
    assert not [at for at, _ in arrivals(plan, Random(1)) if 1.0 < at < 6.0]


def test_rates_are_read_off_at_any_time() -> None:
    plan = spike(100.0, 10.0)
    assert [rate_at(plan, at) for at in (0.0, 3.9, 4.1, 5.9, 6.1, 11.0)] == [25.0, 25.0, 100.0, 100.0, 25.0, 0.0]
    assert rate_at([Phase("ramp", 10.0, 0.0, 50.0)], 5.0) == 25.0
    assert [phase_at(steps(10.0, 10.0), at) for at in (0.0, 1.9, 2.1, 9.9, 10.1)] == [0, 0, 1, 4, None]
