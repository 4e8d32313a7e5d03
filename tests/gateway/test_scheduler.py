"""The whole decision: who gets what when, who waits, and what a change of the fleet does to them."""

from __future__ import annotations

import pytest

from gateway.config import Health
from gateway.lease import Lease
from gateway.scheduler import Scheduler
from tests.fakes.routing import (
    bound,
    fleet_named,
    fleet_of,
    given,
    heavy,
    node,
    refusal,
    scheduler_of,
    snapshot,
    ticket,
)
from wire.errors import Hopeless
from wire.grants import Others
from wire.load_report import LoadReport

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
    scheduler = scheduler_of(fleet, prefetch_lead=0.05)
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
    scheduler = scheduler_of(fleet, prefetch_lead=0.05)
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


def test_while_everybody_is_in_time_a_class_is_served_in_order():
    scheduler = scheduler_of(fleet_named("l1"), prefetch_lead=0.0)
    lease = given(scheduler, ticket("first"))
    scheduler.submit(ticket("big", cost_ms=200), 0.0)
    scheduler.submit(ticket("small", at=0.01, cost_ms=10), 0.01)
    lease.succeeded(0.1, 100.0)
    assert list(bound(scheduler, 0.1)) == ["big"]


def under_pressure(**routing: object) -> Scheduler:
    """A scheduler of one light node that had to refuse a few."""
    scheduler = scheduler_of(fleet_named("l1"), **routing)
    for _ in range(20):
        assert isinstance(refusal(scheduler, ticket(cost_ms=500, budget=0.1)), Hopeless)
    return scheduler


def test_under_pressure_small_work_passes_big_work_of_its_class_but_not_for_ever():
    scheduler = under_pressure(aging=3.0, prefetch_lead=0.0)
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


def test_a_pressure_that_has_passed_is_forgotten():
    scheduler = under_pressure(slo_light_ms=0.0)
    assert scheduler.pressures[False].level == 1.0
    assert scheduler.pressures[True].level == 0.0  # the other class was in time
    for second in range(1, 400):
        given(scheduler, ticket(at=second), second).succeeded(second + 0.1, 100.0)
    assert scheduler.pressures[False].level < 0.1


def test_what_is_served_later_than_its_target_is_pressure_too():
    scheduler = scheduler_of(fleet_named("l1"), slo_light_ms=50.0)
    for second in range(20):
        given(scheduler, ticket(at=second, cost_ms=100), second).succeeded(second + 0.1, 100.0)
    assert scheduler.pressures[False].level == 1.0


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


# ---- refusals by nodes -----------------------------------------------------------------------------------------------


def refused(gateways: int = 0) -> Scheduler:
    """Of a fleet of one node that has just refused a request. One takes it 0.1 s, and it serves so many gateways."""
    scheduler = scheduler_of(fleet_named("l1"))
    scheduler.fleet.backends["l1"].service_ms = 100.0
    if gateways:
        scheduler.fleet.shared("l1", Others(gateways, [], []), 0.5)
    lease = given(scheduler, ticket(at=1.0), 1.0)
    lease.busy(1.0)
    assert scheduler.submit(ticket("early", at=1.01), 1.01) is None
    return scheduler


@pytest.mark.parametrize("gateways", [0, 1, 2])
def test_a_node_that_refused_is_used_again_after_about_one_request(gateways: int):
    scheduler = refused(gateways)
    again = scheduler.next_wake(1.01)
    assert again is not None
    assert 1.01 < again <= 1.1
    assert bound(scheduler, 1.1) == {"early": "l1"}


@pytest.mark.parametrize("gateways", [0, 1, 2])
def test_an_idle_node_that_refused_long_ago_is_given_the_next_request_at_once(gateways: int):
    """It tells of nobody else's requests, and no probe has come since."""
    scheduler = refused(gateways)
    assert scheduler.cancel(next(iter(scheduler.queue.heads()))[2])
    given(scheduler, ticket(at=2.1), 2.1)


def test_what_a_node_reports_after_its_refusal_stands_longer_than_the_guess():
    scheduler = refused()
    scheduler.fleet.reported("l1", LoadReport(named_metrics={"inflight": 2.0, "work_ms": 1600.0}), 1.02)
    assert scheduler.bind(1.2) == []
    assert bound(scheduler, 1.81) == {"early": "l1"}


def test_what_a_stream_says_after_a_refusal_stands_longer_than_the_guess():
    scheduler = refused(2)
    scheduler.fleet.shared("l1", Others(2, [800.0], []), 1.02)
    assert scheduler.bind(1.2) == []
    scheduler.fleet.shared("l1", Others(2, [], []), 1.3)
    assert bound(scheduler, 1.3) == {"early": "l1"}


def test_refusals_by_a_node_that_left_end_without_it():
    scheduler = refused()
    scheduler.fleet.probed("l1", False, 1.02)
    scheduler.fleet.adopt(snapshot(node("l2")), 1.03)
    assert bound(scheduler, 1.03) == {"early": "l2"}
    scheduler.fleet.refresh_if_due(2.0)
    assert scheduler.fleet.next_change == float("inf")
