"""Who is refused, with which error and when to come back; and who is tried elsewhere."""

from __future__ import annotations

import pytest

from discovery.instance import Status
from tests.fakes.routing import (
    bound,
    fleet_named,
    fleet_of,
    given,
    heavy,
    node,
    refusal,
    retry_after,
    scheduler_of,
    ticket,
    with_status,
)
from wire.errors import Hopeless, NoNode, NotFound, QueueFull, TooLarge

# ---- refusals --------------------------------------------------------------------------------------------------------


def test_a_model_nobody_knows_is_not_found():
    error = refusal(scheduler_of(fleet_named("l1")), ticket(model="nonsense"))
    assert isinstance(error, NotFound)
    assert "nonsense" in error.detail
    assert isinstance(refusal(scheduler_of(fleet_named("l1")), ticket(model="m", version="9")), NotFound)


def test_no_model_means_the_default_one():
    fleet = fleet_of(node("l1", models=("a@1",)), node("l2", models=("b@1",)), node("l3", models=("b@1",)))
    scheduler = scheduler_of(fleet)
    assert {given(scheduler, ticket()).backend.id for _ in range(2)} == {"l2", "l3"}
    assert given(scheduler, ticket(model="a")).backend.id == "l1"


def test_more_pixels_than_any_known_node_takes_is_413_at_once_with_the_limit():
    fleet = fleet_of(node("l1", max_pixels=50), with_status(node("h1", max_pixels=200), Status.CRITICAL))
    scheduler = scheduler_of(fleet)
    error = refusal(scheduler, heavy(pixels=201))
    assert isinstance(error, TooLarge)
    assert error.extra == {"max_pixels": 200}
    assert isinstance(refusal(scheduler, heavy(pixels=150)), NoNode)  # it could be served tomorrow


def test_too_many_pixels_for_the_light_pool_go_to_the_heavy_one_whatever_their_class():
    scheduler = scheduler_of(fleet_of(node("l1", max_pixels=10), node("h1", max_pixels=99)))
    assert given(scheduler, ticket(pixels=50)).backend.id == "h1"


def test_when_nobody_is_usable_the_answer_is_503_and_when_to_come_back():
    fleet = fleet_named("l1")
    for now in (1.0, 2.0):
        fleet.probed("l1", False, now, "refused")
    error = refusal(scheduler_of(fleet), ticket(at=2.0), 2.0)
    assert isinstance(error, NoNode)
    assert 1 <= retry_after(error) <= 3


def test_an_empty_gateway_says_no_node_rather_than_not_found():
    assert isinstance(refusal(scheduler_of(fleet_of()), ticket(model="m")), NoNode)


def test_a_full_queue_refuses_the_newcomer():
    scheduler = scheduler_of(fleet_named("l1"), queue_requests=2)
    given(scheduler, ticket())
    for _ in range(2):
        assert scheduler.submit(ticket(cost_ms=2000), 0.0) is None
    error = refusal(scheduler, ticket())
    assert isinstance(error, QueueFull)
    assert 4 <= retry_after(error) <= 7  # about 4 s of work wait, spread by half
    assert scheduler.dropped == {"queue-full": 1}


def test_bodies_of_waiting_requests_are_bounded_together():
    scheduler = scheduler_of(fleet_named("l1"), queue_bytes=1000)
    given(scheduler, ticket())
    assert scheduler.submit(ticket(body_bytes=700), 0.0) is None
    assert isinstance(refusal(scheduler, ticket(body_bytes=400)), QueueFull)
    assert scheduler.queued_bytes() == 700


def test_what_cannot_be_done_in_time_is_refused_at_once():
    scheduler = scheduler_of(fleet_named("l1"))
    assert isinstance(refusal(scheduler, ticket(cost_ms=500, budget=0.4)), Hopeless)


def test_a_waiting_request_is_dropped_at_the_moment_when_it_becomes_hopeless():
    scheduler = scheduler_of(fleet_named("l1"))
    given(scheduler, ticket("long", cost_ms=60_000, budget=99))
    scheduler.submit(ticket("impatient", cost_ms=200, budget=1.0), 0.0)
    assert scheduler.bind(0.7) == []
    assert scheduler.next_wake(0.75) == pytest.approx(0.8)
    ((dropped, error),) = scheduler.bind(0.81)
    assert dropped.request_id == "impatient"
    assert isinstance(error, Hopeless)
    assert retry_after(error) >= 30
    assert scheduler.depth(False) == 0


def test_a_faster_node_that_came_back_gives_hope_again():
    fleet = fleet_of(node("l1"), node("l2", speed=8.0))
    scheduler = scheduler_of(fleet)
    assert given(scheduler, ticket("until 0.5", cost_ms=4000)).backend.id == "l2"
    fleet.drain("l2", 0.0, "update")
    given(scheduler, ticket("long", cost_ms=60_000, budget=99))
    scheduler.submit(ticket("impatient", cost_ms=900, budget=1.0), 0.0)
    fleet.undrain("l2", 0.05)
    assert scheduler.bind(0.2) == []  # 0.9 s on l1 would be late, 0.11 s on l2 is not


def test_a_newcomer_does_not_take_what_an_older_one_could_have_when_the_timer_is_late():
    scheduler = scheduler_of(fleet_named("l1", "h1"), prefetch_lead=0.05)
    given(scheduler, heavy("h", cost_ms=1000)), given(scheduler, ticket("l", cost_ms=5000))
    scheduler.submit(ticket("old", cost_ms=10), 0.0)
    assert scheduler.next_wake(0.9) == pytest.approx(0.95)
    assert scheduler.submit(heavy("young", at=0.97), 0.97) is None
    assert bound(scheduler, 0.97)["old"] == "h1"


def test_retry_after_is_spread_so_that_the_refused_do_not_return_together():
    scheduler = scheduler_of(fleet_named("l1"), queue_requests=1)
    given(scheduler, ticket())
    scheduler.submit(ticket(cost_ms=20_000), 0.0)
    assert len({retry_after(refusal(scheduler, ticket())) for _ in range(50)}) > 3


# ---- retries ---------------------------------------------------------------------------------------------------------


def test_a_retry_never_goes_to_the_same_node():
    scheduler = scheduler_of(fleet_named("l1", "l2"))
    one = ticket()
    first = given(scheduler, one)
    first.failed(0.1, "node-unreachable")
    one.tried.add(first.backend.id)
    second = given(scheduler, one, 0.1)
    assert second.backend is not first.backend
    assert one.attempts == 2
    one.tried.add(second.backend.id)
    second.failed(0.2, "node-unreachable")
    error = refusal(scheduler, one, 0.2)
    assert isinstance(error, NoNode)
    assert "tried" in error.detail


def test_a_retry_that_must_wait_blocks_nobody_else():
    scheduler = scheduler_of(fleet_named("l1", "l2"))
    given(scheduler, ticket("holds l?", cost_ms=9000))
    one = ticket("retry")
    failed = given(scheduler, one)
    failed.failed(0.1, "node-garbage")
    one.tried.add(failed.backend.id)
    assert scheduler.submit(one, 0.1) is None
    other = scheduler.submit(ticket("other", at=0.2), 0.2)
    assert other is None or other.backend is failed.backend
    assert bound(scheduler, 9.0) == {"retry": ({"l1", "l2"} - {failed.backend.id}).pop()} or scheduler.depth(False)


def test_a_retry_keeps_its_place_by_its_first_arrival():
    scheduler = scheduler_of(fleet_named("l1", "l2", "l3"))
    leases = [given(scheduler, ticket(str(number), cost_ms=5000)) for number in range(3)]
    scheduler.submit(ticket("newer", at=1.0), 1.0)
    retry = ticket("retry", at=0.0)
    retry.tried.add(leases[0].backend.id)
    scheduler.submit(retry, 2.0)
    leases[1].succeeded(3.0, 3000.0)
    assert list(bound(scheduler, 3.0)) == ["retry"]
