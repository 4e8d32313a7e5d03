"""Light and heavy work: each prefers its pool, and crosses over only when that helps."""

from __future__ import annotations

from gateway.lease import Lease
from tests.fakes.routing import (
    bound,
    fleet_named,
    fleet_of,
    given,
    heavy,
    node,
    scheduler_of,
    ticket,
)


def test_each_class_prefers_its_pool():
    scheduler = scheduler_of(fleet_of(node("l1"), node("h1", speed=1.0)))
    assert given(scheduler, heavy()).backend.id == "h1"
    assert given(scheduler, ticket()).backend.id == "l1"


def test_light_work_takes_a_heavy_slot_that_would_idle():
    fleet = fleet_of(node("l1"), node("h1", speed=2.0))
    lease = given(scheduler_of(fleet), ticket())
    assert (lease.backend.id, lease.note) == ("h1", "an idle heavy slot finishes sooner")


def test_light_work_leaves_the_heavy_pool_alone_while_heavy_work_waits():
    fleet = fleet_of(node("l1"), node("h1", speed=2.0, max_pixels=10**9))
    scheduler = scheduler_of(fleet)
    given(scheduler, heavy("h", pixels=9))
    assert scheduler.submit(heavy("waits"), 0.0) is None
    given(scheduler, ticket("fills l1"))
    assert scheduler.submit(ticket("later", at=5.0, cost_ms=2000), 5.0) is None


def test_old_light_work_takes_a_heavy_slot_before_younger_heavy_work():
    fleet = fleet_of(node("l1"), node("h1"))
    scheduler = scheduler_of(fleet)
    first_heavy, first_light = given(scheduler, heavy("h")), given(scheduler, ticket("l", cost_ms=5000))
    scheduler.submit(ticket("old", cost_ms=10), 0.0)
    scheduler.submit(heavy("young", at=0.5), 0.5)
    first_heavy.succeeded(1.0, 1000.0)
    assert bound(scheduler, 1.0)["old"] == "h1"
    assert first_light.backend.in_flight == 1


def test_hard_walls_keep_both_classes_at_home():
    fleet = fleet_named("l1", "h1")
    scheduler = scheduler_of(fleet, spill_light_to_heavy=False, spill_heavy_to_light=False)
    given(scheduler, ticket(cost_ms=10_000))
    given(scheduler, heavy(cost_ms=10_000))
    assert scheduler.submit(ticket(), 0.0) is None
    assert scheduler.submit(heavy(), 0.0) is None
    assert scheduler.bind(5.0) == []


def test_heavy_work_spills_only_when_its_pool_would_miss_the_target():
    fleet = fleet_of(node("l1"), node("l2"), node("h1"))
    calm = scheduler_of(fleet, slo_heavy_ms=60_000.0)
    given(calm, heavy())
    assert calm.submit(heavy("waits"), 0.0) is None
    pressed = scheduler_of(fleet_of(node("l1"), node("l2"), node("h1")), slo_heavy_ms=1000.0)
    given(pressed, heavy())
    lease = given(pressed, heavy("spills"))
    assert lease.note == "the heavy pool would miss its target"
    assert pressed.heavy_on_light() == 1
    assert pressed.submit(heavy("capped"), 0.0) is None  # a quarter of two light nodes is one at least
    lease.succeeded(1.0, 1000.0)
    assert pressed.heavy_on_light() == 0


def test_when_the_heavy_pool_is_empty_oversized_work_goes_to_light_nodes_and_says_so():
    fleet = fleet_of(node("l1"), node("l2"), node("l3"))
    scheduler = scheduler_of(fleet)
    lease = given(scheduler, heavy(explain=True))
    assert lease.decision.note == "the heavy pool is empty"
    assert given(scheduler, heavy()).backend.pool == "light"
    assert scheduler.submit(heavy(), 0.0) is None  # one light node is kept for light work
    given(scheduler, ticket())


def test_when_the_light_pool_is_empty_light_work_goes_to_heavy_nodes_and_says_so():
    scheduler = scheduler_of(fleet_named("h1"), prefetch_lead=0.05)
    given(scheduler, heavy("h", cost_ms=100))
    scheduler.submit(ticket("l", cost_ms=10), 0.0)
    ((_, lease),) = scheduler.bind(0.06)
    assert isinstance(lease, Lease)
    assert lease.note == "the light pool is empty"


def test_light_work_may_use_the_free_slots_of_a_heavy_node_that_has_some():
    scheduler = scheduler_of(fleet_of(node("l1"), node("h1", capacity=3, speed=2.0)))
    assert [given(scheduler, ticket()).backend.id for _ in range(3)] == ["h1", "h1", "h1"]
