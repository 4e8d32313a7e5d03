"""Size classes, and what answers teach about costs and speeds."""

from __future__ import annotations

import pytest

from gateway.ticket import Ticket
from tests.fakes.routing import (
    fleet_named,
    fleet_of,
    given,
    node,
    scheduler_of,
    ticket,
)

# ---- size classes ----------------------------------------------------------------------------------------------------


def classified(scheduler, **facts) -> Ticket:
    one = ticket(cost_ms=0.0, **facts)
    scheduler.classify(one)
    return one


def test_pixels_decide_the_class():
    scheduler = scheduler_of(fleet_named("l1"), oversize_pixels=8_000_000)
    small = classified(scheduler, pixels=8_000_000, image_format="jpeg")
    large = classified(scheduler, pixels=8_000_001, image_format="jpeg")
    assert (small.heavy, large.heavy, large.why) == (False, True, "pixels")
    assert 0 < small.cost_ms <= large.cost_ms


def test_predicted_cost_may_decide_beside_pixels():
    scheduler = scheduler_of(fleet_named("l1"), oversize_ms=100.0)
    one = classified(scheduler, pixels=5_000_000, image_format="png")
    assert (one.heavy, one.why) == (True, "cost")


def test_without_a_readable_header_bytes_decide():
    scheduler = scheduler_of(fleet_named("l1"))
    small, large = classified(scheduler, body_bytes=200_000), classified(scheduler, body_bytes=20_000_000)
    assert (small.heavy, small.why) == (False, "bytes")
    assert large.heavy
    unknown = classified(scheduler)
    assert (unknown.heavy, unknown.why) == (False, "default")


def test_an_adaptive_threshold_gives_each_pool_its_share_of_work():
    fleet = fleet_of(
        *(node(f"l{number}") for number in range(4)), *(node(f"h{number}", speed=2.0) for number in range(2))
    )
    scheduler = scheduler_of(fleet, oversize_adaptive=True)
    tickets = [
        classified(scheduler, pixels=(20_000_000 if number % 20 == 0 else 1_000_000), image_format="jpeg")
        for number in range(2000)
    ][1000:]
    heavy_work = sum(one.cost_ms for one in tickets if one.heavy)
    assert heavy_work > 0
    assert all(one.why == "cost" for one in tickets)
    assert {one.heavy for one in tickets if one.pixels == 20_000_000} == {True}
    assert {one.heavy for one in tickets if one.pixels == 1_000_000} == {False}


# ---- learning --------------------------------------------------------------------------------------------------------


def test_answers_teach_the_cost_and_the_speed():
    scheduler = scheduler_of(fleet_of(node("l1", speed=2.0)))
    for number in range(300):
        one = classified(scheduler, at=float(number), pixels=1_000_000, image_format="jpeg", body_bytes=1000)
        lease = given(scheduler, one, float(number))
        lease.succeeded(number + 0.1, 100.0)
    after = classified(scheduler, pixels=1_000_000, image_format="jpeg")
    assert after.cost_ms == pytest.approx(200, rel=0.1)
    assert scheduler.fleet.backends["l1"].speed == pytest.approx(2.0, rel=0.1)
    assert scheduler.costs.errors()["m"] < 0.2


def test_failures_teach_nothing_about_cost():
    scheduler = scheduler_of(fleet_named("l1", "l2"))
    before = classified(scheduler, pixels=1_000_000, image_format="jpeg").cost_ms
    for number in range(50):
        lease = given(scheduler, ticket(at=float(number), pixels=1_000_000, image_format="jpeg"), float(number))
        lease.failed(number + 0.001, "node-garbage")
    assert classified(scheduler, pixels=1_000_000, image_format="jpeg").cost_ms == before
