"""A node that serves several gateways: what its stream says of the others, who asks first, and what an answer does."""

from __future__ import annotations

import pytest

from gateway.backend import Backend
from gateway.config import Health
from gateway.grants import PATIENCE, Grants
from gateway.lease import Lease
from gateway.scheduler import QUIET, SCARCE, Scheduler
from tests.fakes.routing import bound, fleet_of, given, heavy, node, scheduler_of, ticket
from wire.grants import Ask, Drop, No, Others, Yes, read_label
from wire.load_report import LoadReport


class Wire:
    """Keeps what is said; `cut` nodes hear nothing."""

    def __init__(self) -> None:
        self.said: list[tuple[str, object]] = []
        self.cut: set[str] = set()

    def __call__(self, node: str, message: object) -> bool:
        self.said.append((node, message))
        return node not in self.cut


def shared(*names: str, capacity: int = 1) -> Scheduler:
    """A gateway beside another one; all nodes have been idle for long."""
    scheduler = scheduler_of(fleet_of(*(node(name, capacity=capacity) for name in names)))
    for name in names:
        scheduler.fleet.shared(name, Others(2, [], []), -100.0)
    return scheduler


def backend(**facts: object) -> Backend:
    return Backend(node("l1", **facts), Health(), 0.0, 1)


# ---- what a node's stream says ---------------------------------------------------------------------------------------


def test_others_requests_close_slots_until_the_stream_says_that_they_are_done():
    one = backend(capacity=2)
    one.share(2, [100.0], [400.0], 10.0)
    assert not one.open
    assert one.free_in(10.0) == pytest.approx(0.1)
    assert one.heavy_held == 1
    one.share(2, [], [390.0], 10.01)
    assert one.open
    one.share(2, [], [], 10.4)
    assert (one.heavy_held, one.left_ms) == (0, 0.0)


def test_a_node_is_free_for_one_more_when_as_many_are_done_as_are_too_many():
    one = backend(capacity=1)
    one.share(3, [30.0, 80.0], [], 10.0)
    assert one.free_in(10.0) == pytest.approx(0.08)


def test_what_was_sent_behind_others_begins_when_the_last_of_them_is_done():
    scheduler = shared("l1")
    one = scheduler.fleet.backends["l1"]
    scheduler.fleet.shared("l1", Others(2, [15.0], []), 0.0)
    lease = given(scheduler, ticket(cost_ms=100.0), 0.0)
    assert lease.ask
    assert one.free_in(0.0) == pytest.approx(0.115)
    assert lease.began is None
    scheduler.fleet.shared("l1", Others(2, [], []), 0.05)
    assert lease.began == 0.05
    lease.abandoned(0.06)
    assert (one.in_flight, one.left_ms) == (0, 0.0)


def test_load_reports_say_nothing_new_of_a_node_with_a_stream():
    one = backend()
    one.share(2, [], [], 10.0)
    assert not one.told(LoadReport(named_metrics={"inflight": 5.0, "queue_depth": 2.0}), 10.0)
    assert one.open


def test_a_refusal_by_a_shared_node_counts_until_its_next_line():
    one = backend()
    one.share(2, [], [], 10.0)
    one.refused(10.0)
    assert not one.open
    one.share(2, [], [], 10.001)
    assert one.open


def test_a_stream_that_is_gone_leaves_nothing_behind():
    one = backend(capacity=2)
    one.share(2, [1e5], [1e5], 10.0)
    one.share(0, (), (), 11.0)
    assert one.open
    assert (one.heavy_held, one.left_ms, one.gateways) == (0, 0.0, 0)


# ---- who asks --------------------------------------------------------------------------------------------------------


def test_a_gateway_alone_never_asks():
    scheduler = scheduler_of(fleet_of(node("l1")))
    scheduler.fleet.shared("l1", Others(1, [], []), 0.0)
    assert not given(scheduler, ticket("a"), 0.0).ask
    assert not given(scheduler, ticket("b"), 0.09).ask  # sent ahead
    assert scheduler.submit(ticket("c"), 0.09) is None


def test_who_comes_to_a_slot_that_is_free_for_long_does_not_ask():
    assert not given(shared("l1"), ticket(), 0.0).ask


def test_who_is_sent_ahead_asks():
    scheduler = shared("l1")
    given(scheduler, ticket("a"), 0.0)
    assert given(scheduler, ticket("b"), 0.09).ask


def test_who_has_waited_asks():
    scheduler = shared("l1")
    first, second = given(scheduler, ticket("a"), 0.0), given(scheduler, ticket("b"), 0.09)
    assert scheduler.submit(ticket("c", at=0.09), 0.09) is None
    first.succeeded(0.1, 100.0)
    second.succeeded(0.2, 100.0)
    ((_, lease),) = scheduler.bind(0.2)
    assert isinstance(lease, Lease)
    assert lease.ask


def test_who_was_refused_asks():
    assert given(shared("l1"), ticket(asks_first=True), 0.0).ask


def test_for_a_slot_that_was_just_freed_a_newcomer_asks_while_slots_are_scarce():
    scheduler = shared("l1")
    scheduler.fleet.shared("l1", Others(2, [0.0, 50.0], []), 1.0)
    waits = ticket("a", at=1.0)
    assert scheduler.submit(waits, 1.0) is None
    scheduler.cancel(waits)
    scheduler.fleet.shared("l1", Others(2, [], []), 1.05)
    lease = given(scheduler, ticket("b", at=1.05), 1.05)
    assert lease.ask
    lease.abandoned(1.05)
    assert not given(scheduler, ticket("c", at=1.05), 1.051 + QUIET).ask


def test_while_slots_abound_nobody_asks_for_one_that_was_just_freed():
    scheduler = shared("l1")
    scheduler.fleet.shared("l1", Others(2, [], []), 1.05)
    assert not given(scheduler, ticket("b", at=1.05), 1.05 + SCARCE / 1000).ask


def test_other_gateways_heavy_work_counts_against_what_light_nodes_may_hold():
    scheduler = shared("l1", "l2", "l3", "h1")
    for name in ("l1", "l2"):
        scheduler.fleet.shared(name, Others(2, [], [5000.0]), 0.0)
    scheduler.fleet.shared("h1", Others(2, [], [20_000.0, 20_000.0]), 0.0)
    assert scheduler.heavy_on_light() == 2
    assert scheduler.submit(heavy("big", budget=60.0), 0.0) is None  # one third of three light slots is one


# ---- answers ---------------------------------------------------------------------------------------------------------


def test_an_ask_says_how_old_its_key_is_and_what_it_will_take_there():
    scheduler, wire = shared("l1"), Wire()
    scheduler.fleet.backends["l1"].adopt(node("l1", speed=2.0))
    lease = given(scheduler, heavy(at=1.0, cost_ms=100.0, asks_first=True), 1.5)
    assert Grants("me", wire).ask(lease, 1.5)
    assert wire.said == [("l1", Ask(1, pytest.approx(200.0), pytest.approx(50.0), True))]


def test_a_yes_is_good_for_one_request_which_carries_its_number():
    scheduler, wire = shared("l1"), Wire()
    grants = Grants("me", wire)
    lease = given(scheduler, ticket(asks_first=True), 0.0)
    grants.ask(lease, 0.0)
    assert grants.answered("l1", Yes(1)) is lease
    said = read_label(grants.label(lease))
    assert said is not None
    assert (said.gateway, said.number, said.cost_ms, said.heavy) == ("me", 1, 100.0, False)
    assert grants.answered("l1", Yes(1)) is None
    assert wire.said[-1] == ("l1", Drop(1))  # nobody here will use it


def test_a_denied_request_waits_with_its_old_place_and_no_attempt_counted():
    scheduler, wire = shared("l1"), Wire()
    grants = Grants("me", wire)
    old = ticket("old", at=0.0, asks_first=True)
    lease = given(scheduler, old, 0.0)
    grants.ask(lease, 0.0)
    scheduler.fleet.shared("l1", Others(2, [500.0, 500.0], []), 0.001)
    assert grants.answered("l1", No(1)) is lease
    lease.denied(0.001)
    assert old.attempts == 0
    assert scheduler.submit(ticket("new", at=0.0005), 0.001) is None
    assert scheduler.submit(old, 0.001) is None
    scheduler.fleet.shared("l1", Others(2, [], []), 1.0)
    assert next(iter(bound(scheduler, 1.0))) == "old"


def test_a_lost_stream_and_an_answer_that_does_not_come_deny_what_was_asked():
    scheduler, wire = shared("l1", "l2"), Wire()
    grants = Grants("me", wire)
    one, two = (given(scheduler, ticket(name, asks_first=True), 0.0) for name in "ab")
    for lease in (one, two):
        grants.ask(lease, 0.0)
    assert grants.lost(one.backend.id) == [one]
    assert grants.overdue(PATIENCE / 2) == []
    assert grants.overdue(PATIENCE) == [two]
    assert wire.said[-1] == (two.backend.id, Drop(two.grant))
    assert (grants.open, grants.counts["lost"]) == (0, 2)
    assert grants.answered(two.backend.id, No(two.grant)) is None


def test_without_a_stream_nobody_is_asked():
    scheduler, wire = shared("l1"), Wire()
    wire.cut.add("l1")
    grants = Grants("me", wire)
    assert not grants.ask(given(scheduler, ticket(asks_first=True), 0.0), 0.0)
    assert grants.open == 0


# ---- nodes without a stream ------------------------------------------------------------------------------------------


def report(inflight: float) -> LoadReport:
    return LoadReport(named_metrics={"inflight": inflight, "queue_depth": 0.0, "work_ms": 50.0})


def test_a_gateway_that_is_not_alone_stays_in_its_pool_at_nodes_without_a_stream():
    scheduler = scheduler_of(fleet_of(node("l1", speed=0.1), node("h1", speed=9.0), node("h2")))
    given(scheduler, ticket("a"), 0.0).abandoned(0.0)
    assert given(scheduler, ticket("b"), 0.0).backend.id == "h1"
    scheduler.fleet.reported("h2", report(3.0), 1.0)
    assert given(scheduler, ticket("c", at=1.0), 1.0).backend.id == "l1"


def test_a_gateway_that_is_alone_again_uses_all_that_it_sees():
    scheduler = scheduler_of(fleet_of(node("l1", speed=0.1), node("h1", speed=9.0)))
    scheduler.fleet.reported("l1", report(3.0), 1.0)
    assert given(scheduler, ticket("c", at=20.0), 20.0).backend.id == "h1"


def test_a_stream_makes_an_end_of_what_reports_said():
    scheduler = scheduler_of(fleet_of(node("l1", speed=0.1), node("h1", speed=9.0)))
    scheduler.fleet.reported("l1", report(3.0), 1.0)
    scheduler.fleet.shared("l1", Others(1, [], []), 1.1)
    assert given(scheduler, ticket("c", at=1.2), 1.2).backend.id == "h1"


def test_whoever_tried_its_whole_pool_may_leave_it():
    scheduler = scheduler_of(fleet_of(node("l1"), node("h1")))
    scheduler.fleet.reported("h1", report(1.0), 0.0)
    scheduler.fleet.reported("h1", report(0.0), 0.0)
    assert given(scheduler, ticket("a", tried={"l1"}), 0.0).backend.id == "h1"
