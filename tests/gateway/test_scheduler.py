"""The whole decision: who gets what when, who waits, and how refusals are worded and timed."""

from __future__ import annotations

import pytest

from discovery.instance import Status
from gateway.config import Health
from gateway.lease import Lease
from gateway.ticket import Ticket
from tests.fakes.routing import (
    bound,
    fleet_named,
    fleet_of,
    given,
    heavy,
    node,
    scheduler_of,
    snapshot,
    ticket,
    with_status,
)
from wire.errors import Hopeless, NoNode, NotFound, QueueFull, TooLarge, WireError


def refusal(scheduler, one: Ticket, now: float = 0.0) -> WireError:
    with pytest.raises(WireError) as caught:
        scheduler.submit(one, now)
    return caught.value


def retry_after(error: WireError) -> int:
    return int(error.headers["Retry-After"])


# ---- claiming and waiting --------------------------------------------------------------------------------------------


def test_an_idle_node_is_claimed_in_the_same_breath():
    fleet = fleet_named("l1")
    lease = given(scheduler_of(fleet), ticket())
    assert (lease.backend.id, lease.backend.in_flight, lease.ticket.attempts) == ("l1", 1, 1)


def test_busy_nodes_are_left_for_idle_ones():
    fleet = fleet_named("l1", "l2", "l3")
    scheduler = scheduler_of(fleet)
    assert {given(scheduler, ticket()).backend.id for _ in range(3)} == {"l1", "l2", "l3"}


def test_when_all_are_busy_requests_wait_in_the_gateway():
    scheduler = scheduler_of(fleet_named("l1"))
    lease = given(scheduler, ticket("first"))
    assert scheduler.submit(ticket("second"), 0.0) is None
    assert (scheduler.depth(False), scheduler.queued_ms(False)) == (1, 100.0)
    assert scheduler.oldest_wait(False, 2.5) == 2.5
    lease.succeeded(0.1, 100.0)
    assert bound(scheduler, 0.1) == {"second": "l1"}
    assert scheduler.bind(0.1) == []


def test_the_next_body_is_sent_ahead_shortly_before_a_node_is_free():
    scheduler = scheduler_of(fleet_named("l1"), prefetch_lead=0.05)
    given(scheduler, ticket("first", cost_ms=1000))
    assert scheduler.submit(ticket("second", cost_ms=1000), 0.0) is None
    assert scheduler.bind(0.94) == []
    assert bound(scheduler, 0.951) == {"second": "l1"}
    assert scheduler.submit(ticket("third", at=1.0, cost_ms=1000), 1.0) is None
    assert scheduler.bind(1.0) == []  # one ahead is enough


def test_nothing_is_sent_ahead_to_a_node_that_just_came():
    fleet = fleet_named("l1")
    scheduler = scheduler_of(fleet)
    fleet.adopt(snapshot(node("l1"), node("l2")), 10.0)
    for _ in range(2):
        given(scheduler, ticket(at=10.0, cost_ms=1000), 10.0)
    given_ahead = scheduler.submit(ticket("a", at=10.96, cost_ms=1000), 10.96)
    assert given_ahead is not None
    assert given_ahead.backend.id == "l1"
    assert scheduler.submit(ticket("b", at=10.96, cost_ms=1000), 10.96) is None


def test_a_node_that_hangs_gets_no_second_body():
    scheduler = scheduler_of(fleet_named("l1"))
    given(scheduler, ticket(cost_ms=100))
    assert scheduler.submit(ticket("later", at=5.0), 5.0) is None


def test_it_asks_to_be_woken_when_a_node_should_be_free():
    scheduler = scheduler_of(fleet_named("l1"), prefetch_lead=0.05)
    assert scheduler.next_wake(0.0) is None
    given(scheduler, ticket(cost_ms=100))
    scheduler.submit(ticket(cost_ms=100), 0.0)
    assert scheduler.next_wake(0.0) == pytest.approx(0.05)
    assert scheduler.next_wake(0.2) == pytest.approx(0.3)


def test_a_fast_node_that_is_free_soon_is_waited_for():
    fleet = fleet_of(node("l1", speed=0.2), node("l2", speed=4.0))
    scheduler = scheduler_of(fleet)
    assert given(scheduler, ticket("first", cost_ms=400)).backend.id == "l2"
    assert scheduler.submit(ticket("second", cost_ms=400), 0.0) is None  # 200 ms there, 2 s on the idle one
    assert bound(scheduler, 0.06) == {"second": "l2"}


def test_a_client_that_hung_up_is_forgotten():
    scheduler = scheduler_of(fleet_named("l1"))
    lease = given(scheduler, ticket("first"))
    waiting = ticket("second")
    scheduler.submit(waiting, 0.0)
    assert scheduler.cancel(waiting)
    assert not scheduler.cancel(waiting)
    lease.succeeded(0.1, 100.0)
    assert scheduler.bind(0.1) == []


def test_small_work_passes_big_work_of_its_class_but_not_for_ever():
    scheduler = scheduler_of(fleet_named("l1"), aging=3.0, prefetch_lead=0.0)
    lease = given(scheduler, ticket("first"))
    scheduler.submit(ticket("big", cost_ms=1000), 0.0)
    scheduler.submit(ticket("small", at=1.0, cost_ms=10), 1.0)
    scheduler.submit(ticket("late", at=3.1, cost_ms=10), 3.1)
    order = []
    for now in (4.0, 5.0, 6.0):
        lease.succeeded(now, 100.0)
        ((served, lease),) = scheduler.bind(now)
        order.append(served.request_id)
    assert order == ["small", "big", "late"]


# ---- pools -----------------------------------------------------------------------------------------------------------


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
    assert pressed.submit(heavy("capped"), 0.0) is None  # a third of two light nodes is one
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
    scheduler = scheduler_of(fleet_named("h1"))
    given(scheduler, heavy("h", cost_ms=100))
    scheduler.submit(ticket("l", cost_ms=10), 0.0)
    ((_, lease),) = scheduler.bind(0.06)
    assert isinstance(lease, Lease)
    assert lease.note == "the light pool is empty"


def test_light_work_may_use_the_free_slots_of_a_heavy_node_that_has_some():
    scheduler = scheduler_of(fleet_of(node("l1"), node("h1", capacity=3, speed=2.0)))
    assert [given(scheduler, ticket()).backend.id for _ in range(3)] == ["h1", "h1", "h1"]


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


# ---- the fleet changes while they wait -------------------------------------------------------------------------------


def test_waiting_requests_are_told_at_once_when_their_last_node_is_gone():
    fleet = fleet_named("l1")
    scheduler = scheduler_of(fleet)
    given(scheduler, ticket("first"))
    scheduler.submit(ticket("second"), 0.0)
    fleet.eject("l1", 0.05, "fire")
    assert bound(scheduler, 0.05) == {"second": "no-node"}


def test_waiting_requests_use_a_node_that_joins():
    fleet = fleet_named("l1")
    scheduler = scheduler_of(fleet)
    given(scheduler, ticket("first", cost_ms=9000))
    scheduler.submit(ticket("second"), 0.0)
    fleet.adopt(snapshot(node("l1"), node("l2", max_pixels=77)), 0.1)
    assert bound(scheduler, 0.1) == {"second": "l2"}


def test_a_lease_on_a_node_that_left_still_ends():
    fleet = fleet_named("l1", "l2")
    scheduler = scheduler_of(fleet)
    lease = given(scheduler, ticket())
    fleet.adopt(snapshot(node("l2" if lease.backend.id == "l1" else "l1")), 0.1)
    lease.succeeded(0.2, 100.0)
    assert lease.backend.in_flight == 0
    assert lease.backend.id not in fleet.backends


def test_a_draining_node_finishes_what_it_has_and_gets_nothing_new():
    fleet = fleet_named("l1", "l2")
    scheduler = scheduler_of(fleet)
    lease = given(scheduler, ticket(cost_ms=1000))
    fleet.drain(lease.backend.id, 0.1, "update")
    others = {given(scheduler, ticket(at=0.2), 0.2).backend.id}
    assert lease.backend.id not in others
    assert scheduler.submit(ticket(at=0.2), 0.2) is None
    lease.succeeded(1.0, 1000.0)


def test_walls_can_be_put_up_while_requests_wait():
    scheduler = scheduler_of(fleet_named("l1", "h1"))
    scheduler.reconfigure(scheduler.routing)
    routing = type(scheduler.routing)(spill_light_to_heavy=False, spill_heavy_to_light=False)
    given(scheduler, ticket("a", cost_ms=5000)), given(scheduler, ticket("b", cost_ms=5000))
    scheduler.submit(ticket("waits"), 0.0)
    scheduler.reconfigure(routing)
    scheduler.bind(0.1)
    lane = next(lane for _, lane, _ in scheduler.queue.heads())
    assert lane.away == ()


@pytest.mark.parametrize("by", ["a new request", "a waiting one"])
def test_an_ejection_that_ended_is_noticed(by):
    fleet = fleet_named("l1", "l2", health=Health(eject_seconds=5.0, eject_max_share=0.5))
    scheduler = scheduler_of(fleet)
    for _ in range(3):
        fleet.erred(fleet.backends["l1"], "node-unreachable", 0.0)
    assert given(scheduler, ticket("a", cost_ms=20_000), 1.0).backend.id == "l2"
    if by == "a new request":
        assert given(scheduler, ticket("b", at=5.5), 5.5).backend.id == "l1"
    else:
        assert scheduler.submit(ticket("b", at=1.0), 1.0) is None
        assert scheduler.next_wake(1.0) <= 5.5
        assert bound(scheduler, 5.5) == {"b": "l1"}


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


# ---- policies and explanations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", ["random", "round_robin", "least_connections", "p2c", "least_work", "earliest_finish"]
)
def test_every_policy_serves_everybody(policy):
    scheduler = scheduler_of(fleet_named("l1", "l2", "h1"), policy=policy)
    served, leases, now = set(), [], 0.0
    for number in range(40):
        one = heavy(str(number), cost_ms=100) if number % 5 == 0 else ticket(str(number), cost_ms=20)
        lease = scheduler.submit(one, now)
        if lease is not None:
            leases.append(lease)
    while leases:
        now += 0.02
        lease = leases.pop(0)
        served.add(lease.ticket.request_id)
        lease.succeeded(now, 20.0)
        leases += [result for _, result in scheduler.bind(now) if isinstance(result, Lease)]
    assert len(served) == 40


def test_an_unknown_policy_is_refused_when_it_is_set():
    scheduler = scheduler_of(fleet_named("l1"))
    with pytest.raises(KeyError):
        scheduler.use("astrology")
    assert scheduler.policy == "earliest_finish"
    scheduler.use("p2c")
    assert scheduler.policy == "p2c"


def test_the_reason_of_every_decision_can_be_asked_for():
    scheduler = scheduler_of(fleet_of(node("l1"), node("l2", speed=2.0), node("h1", speed=0.5)))
    asked = given(scheduler, ticket(pixels=5, image_format="jpeg", explain=True, why="pixels", cost_ms=100), 0.25)
    decision = asked.decision
    assert (decision.winner, decision.pool, decision.size_class, decision.class_why) == (
        "l2",
        "light",
        "light",
        "pixels",
    )
    assert (decision.predicted_ms, decision.finish_ms, decision.wait_ms) == (100.0, 50.0, 250.0)
    assert [each.node for each in decision.candidates] == ["l2", "l1", "h1"]
    assert [each.finish_ms for each in decision.candidates] == [50.0, 100.0, 200.0]
    brief = given(scheduler, ticket(), 0.25).decision
    assert brief.winner
    assert brief.candidates == []


def test_explanations_stay_short_in_a_large_fleet():
    scheduler = scheduler_of(fleet_named(*(f"l{number}" for number in range(300))))
    decision = given(scheduler, ticket(explain=True)).decision
    assert (len(decision.candidates), decision.considered) == (8, 300)


def test_it_says_in_one_line_what_it_is():
    assert repr(scheduler_of(fleet_named("l1"))) == (
        "<Scheduler earliest_finish <Queue 0 light 0 heavy> <Fleet [<Backend l1 healthy 0/1>]>>"
    )
