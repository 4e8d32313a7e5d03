"""Whatever gateways say in whatever order: never more credits out than there are, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from node.credits import EXPIRY, GATHER, SPARE, USUAL_MS, Credits, Seat, Stay
from wire.grants import Ask, Drop, Label, No, Others, Yes


def ask(number: int, age_ms: float = 0.0, cost_ms: float = 50.0, heavy: bool = False) -> Ask:
    return Ask(number, age_ms, cost_ms, heavy)


def label(gateway: str, number: int = 0, cost_ms: float = 50.0, heavy: bool = False) -> Label:
    return Label(gateway, number, cost_ms, heavy)


def of(outbox: list[tuple[Seat, object]], kind: type = Yes | No) -> list[tuple[str, object]]:
    return [(seat.gateway, said) for seat, said in outbox if isinstance(said, kind)]


def shared(slots: int = 1) -> tuple[Credits, Seat, Seat]:
    """A node with two gateways that have been told so."""
    node = Credits(slots)
    one, two = node.attach("one", 0.0), node.attach("two", 0.0)
    node.settle(0.0)
    return node, one, two


# ---- one gateway alone -----------------------------------------------------------------------------------------------


def test_a_gateway_alone_is_told_so_once_and_holds_everything() -> None:
    node = Credits(2)
    seat = node.attach("one", 0.0)
    assert node.settle(0.0) == [(seat, Others(1, [], []))]
    for _ in range(10):
        assert node.arrive(None, 1.0)
    assert not node.news
    assert node.settle(1.0) == []


def test_what_a_gateway_sent_while_alone_is_shown_to_the_next_but_not_to_itself() -> None:
    node = Credits(1)
    one = node.attach("one", 0.0)
    node.expect(node.arrive(None, 1.0), 80.0)
    two = node.attach("two", 1.0)
    assert node.settle(1.05) == [(one, Others(2, [], [])), (two, Others(2, [30.0], []))]


def test_the_last_one_left_is_told_that_it_is_alone() -> None:
    node, one, two = shared()
    node.detach(two, 1.0)
    assert node.settle(1.0) == [(one, Others(1, [], []))]


# ---- free slots ------------------------------------------------------------------------------------------------------


def test_to_a_free_slot_one_may_come_unasked_and_the_second_is_refused() -> None:
    node, _one, _two = shared()
    stay = node.arrive(label("one"), 1.0)
    assert stay is not None
    assert node.arrive(label("two"), 1.001) is None
    node.leave(stay, 1.05)
    assert node.arrive(label("two"), 1.05)


def test_who_was_refused_is_told_why() -> None:
    node, _, two = shared()
    node.arrive(label("one", cost_ms=70.0, heavy=True), 1.0)
    node.settle(1.0)
    node.arrive(label("two"), 1.01)
    assert node.settle(1.01) == [(two, Others(2, [], [60.0]))]


def test_strangers_without_a_gateway_are_counted_and_not_refused() -> None:
    node, _one, _two = shared()
    for _ in range(5):
        assert node.arrive(None, 1.0)
    assert [len(said.light_ms) for _, said in node.settle(1.0)] == [5, 5]


# ---- asking ----------------------------------------------------------------------------------------------------------


def test_the_spare_credit_goes_to_the_oldest_of_those_who_ask_at_about_the_same_time() -> None:
    node, one, two = shared()
    node.arrive(label("one"), 1.0)
    node.hear(one, ask(1, age_ms=5.0), 1.01)
    assert of(node.settle(1.01)) == []
    node.hear(two, ask(9, age_ms=500.0), 1.011)
    assert node.next_wake() == pytest.approx(1.01 + GATHER)
    assert of(node.settle(1.01 + GATHER)) == [("two", Yes(9)), ("one", No(1))]


def test_a_free_slot_is_granted_at_once() -> None:
    node, one, _ = shared()
    node.hear(one, ask(1), 1.0)
    assert of(node.settle(1.0)) == [("one", Yes(1))]


def test_who_is_told_no_knows_by_then_who_has_the_place() -> None:
    node, one, two = shared()
    node.arrive(label("one"), 0.9)
    node.hear(one, ask(1, age_ms=9.0), 1.0)
    node.hear(two, ask(2), 1.0)
    outbox = node.settle(1.0 + GATHER)
    told = [said for seat, said in outbox if seat is two]
    assert [type(said) for said in told] == [Others, No]
    assert isinstance(told[0], Others)
    assert len(told[0].light_ms) == 2


def test_a_grant_is_kept_for_its_request_alone() -> None:
    node, one, _two = shared()
    node.hear(one, ask(7), 1.0)
    node.settle(1.0)
    assert node.arrive(label("two", 7), 1.0) is None
    assert node.arrive(label("one"), 1.0) is None
    assert node.arrive(label("one", 7), 1.0)
    assert node.arrive(label("one", 7), 1.0) is None  # once


def test_a_grant_that_is_given_back_goes_to_the_next() -> None:
    node, one, two = shared()
    node.arrive(label("one"), 0.9)
    node.hear(one, ask(1), 1.0)
    node.settle(1.0 + GATHER)
    node.hear(one, Drop(1), 1.01)
    node.hear(two, ask(2), 1.01)
    assert of(node.settle(1.01 + GATHER)) == [("two", Yes(2))]


def test_a_gateway_that_dies_gives_its_credits_back_at_once_but_its_requests_go_on() -> None:
    node, one, _two = shared()
    stay = node.arrive(label("one"), 0.9)
    node.hear(one, ask(1), 1.0)
    node.settle(1.0 + GATHER)
    assert node.reserved == 1
    node.detach(one, 1.01)
    assert node.stays == [stay]
    assert node.reserved == 0


def test_a_gateway_that_hangs_keeps_a_grant_for_a_second() -> None:
    node, one, _two = shared()
    node.hear(one, ask(1), 1.0)
    node.settle(1.0)
    assert node.next_wake() == 1.0 + EXPIRY
    assert of(node.settle(1.0 + EXPIRY), Others) == [("two", Others(2, [], []))]
    assert node.stays == []
    assert node.arrive(label("one", 1), 3.0)  # late, but the slot is free


def test_a_stream_opened_again_replaces_the_half_open_one() -> None:
    node, one, two = shared()
    node.hear(one, ask(1), 1.0)
    node.settle(1.0)
    again = node.attach("one", 1.5)
    node.hear(one, ask(2), 1.5)
    assert of(node.settle(1.5)) == []
    assert node.reserved == 0
    assert node.seats == [two, again]
    node.detach(one, 1.6)
    assert node.seats == [two, again]


# ---- what others are told --------------------------------------------------------------------------------------------


def test_requests_behind_others_are_told_with_the_time_when_they_will_be_done() -> None:
    node, one, two = shared(slots=2)
    for cost in (100.0, 40.0):
        node.arrive(label("one", cost_ms=cost), 1.0)
    node.hear(one, ask(5, cost_ms=30.0), 1.0)
    assert (two, Others(2, [100.0, 40.0], [])) in node.settle(1.0)
    assert (two, Others(2, [98.0, 38.0, 68.0], [])) in node.settle(1.0 + GATHER)


def test_a_request_that_is_late_is_expected_to_be_late_by_as_much_again() -> None:
    node, _one, two = shared()
    node.arrive(label("one", cost_ms=100.0), 1.0)
    node.settle(1.0)
    node.attach("three", 1.25)
    assert (two, Others(3, [150.0], [])) in node.settle(1.25)


def test_what_nobody_priced_takes_the_usual_time_until_it_is_understood() -> None:
    node, _one, _two = shared()
    stay = node.arrive(None, 1.0)
    assert node.settle(1.0)[0][1] == Others(2, [USUAL_MS], [])
    assert stay is not None
    node.expect(stay, 7.0)
    assert node.settle(1.0)[0][1] == Others(2, [7.0], [])


# ---- anything in any order -------------------------------------------------------------------------------------------

NAMES = ["a", "b", "c"]


class Node(RuleBasedStateMachine):
    """A node whose gateways do as they please: they repeat themselves, mix things up, hang and die."""

    @initialize(slots=st.integers(1, 4))
    def start(self, slots: int) -> None:
        self.node = Credits(slots)
        self.now = 10.0
        self.seats: dict[str, Seat] = {}
        self.unanswered: dict[tuple[int, int], float] = {}  # by seat and number
        self.granted: dict[tuple[int, int], float] = {}
        self.inside: list[tuple[Stay, bool]] = []  # and whether it came by the rules
        self.number = 0

    @rule(name=st.sampled_from(NAMES))
    def attach(self, name: str) -> None:
        if name in self.seats:
            self.forget(self.seats[name])
        self.seats[name] = self.node.attach(name, self.now)

    @rule(name=st.sampled_from(NAMES))
    def die(self, name: str) -> None:
        seat = self.seats.pop(name, None)
        if seat is not None:
            self.node.detach(seat, self.now)
            self.forget(seat)

    @rule(name=st.sampled_from(NAMES), age=st.floats(-1e4, 1e6), cost=st.floats(0, 1e4), heavy=st.booleans())
    def ask(self, name: str, age: float, cost: float, heavy: bool) -> None:
        if name in self.seats:
            self.number += 1
            self.node.hear(self.seats[name], Ask(self.number, age, cost, heavy), self.now)
            self.unanswered[id(self.seats[name]), self.number] = self.now

    @rule(name=st.sampled_from(NAMES), back=st.integers(0, 6))
    def drop(self, name: str, back: int) -> None:
        if name in self.seats:
            key = id(self.seats[name]), self.number - back
            self.node.hear(self.seats[name], Drop(key[1]), self.now)
            self.unanswered.pop(key, None)
            self.granted.pop(key, None)

    @rule(name=st.sampled_from(NAMES), back=st.integers(0, 6), labelled=st.booleans())
    def arrive(self, name: str, back: int, labelled: bool) -> None:
        number = max(0, self.number - back)
        before, ours = len(self.node.stays), self.node.shared and labelled
        stay = self.node.arrive(label(name, number) if labelled else None, self.now)
        if stay is None:
            assert ours
            assert before >= self.node.slots
            return
        if labelled and name in self.seats:
            self.granted.pop((id(self.seats[name]), number), None)
        self.inside.append((stay, labelled))

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 50))
    def leave(self, which: int) -> None:
        stay, _ = self.inside.pop(which % len(self.inside))
        self.node.leave(stay, self.now)

    @rule(seconds=st.sampled_from([0.0, GATHER / 2, GATHER, 0.05, EXPIRY, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def settle(self) -> None:
        before = {id(stay) for stay in self.node.stays}
        for seat, said in self.node.settle(self.now):
            assert seat in self.seats.values()
            if isinstance(said, Others):
                assert said.gateways == len(self.seats)
                continue
            assert isinstance(said, Yes | No)
            del self.unanswered[id(seat), said.number]  # each ask is answered once
            if isinstance(said, Yes):
                self.granted[id(seat), said.number] = self.now
        self.granted = {key: at for key, at in self.granted.items() if self.now < at + EXPIRY}
        if any(id(stay) not in before for stay in self.node.stays):
            assert len(self.node.stays) <= self.node.slots + SPARE
        assert all(self.now < since + GATHER for since in self.unanswered.values())

    def forget(self, seat: Seat) -> None:
        for known in (self.unanswered, self.granted):
            for key in [key for key in known if key[0] == id(seat)]:
                del known[key]

    @invariant()
    def every_credit_is_somebodys(self) -> None:
        if not hasattr(self, "node"):
            return
        assert len(self.node.stays) == len(self.inside) + self.node.reserved
        assert {id(stay) for stay, _ in self.inside} <= {id(stay) for stay in self.node.stays}
        running = sum(stay.began is not None for stay in self.node.stays)
        assert running == min(len(self.node.stays), self.node.slots)
        if not self.node.news:
            assert self.node.reserved == len(self.granted) or self.now >= self.node.next_wake()

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        for seat in list(self.node.seats):
            self.node.detach(seat, self.now)
        for stay, _ in self.inside:
            self.node.leave(stay, self.now)
        assert self.node.stays == []
        assert self.node.settle(self.now) == []


Node.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestCredits = Node.TestCase
