"""Who is next: keys, bounds, hang-ups, hopeless moments, and that nobody is passed for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.queue import Queue
from gateway.reach import Reach
from gateway.ticket import Ticket
from tests.fakes.routing import heavy, ticket

REACH = Reach((), ())
NOBODY: frozenset[str] = frozenset()
AGING = 3.0


def push(queue: Queue, one: Ticket, hopeless_at: float = 1e9, tried: frozenset[str] = NOBODY) -> Ticket:
    one.key = one.order = one.arrival + AGING * one.cost_ms * 1e-3
    queue.push(one, queue.lane(REACH, one.heavy, tried, True), hopeless_at)
    return one


def pop(queue: Queue) -> Ticket:
    _, _, head = queue.heads()[0]
    queue.remove(head)
    return head


def test_small_work_goes_first_and_equals_go_in_order():
    queue = Queue(100, 10**9)
    big = push(queue, ticket("big", cost_ms=500))
    first = push(queue, ticket("first", cost_ms=50))
    second = push(queue, ticket("second", cost_ms=50))
    assert [pop(queue) for _ in range(3)] == [first, second, big]
    assert len(queue) == 0


def test_age_beats_size():
    queue = Queue(100, 10**9)
    old = push(queue, ticket("old", at=0.0, cost_ms=1000))
    push(queue, ticket("young", at=2.99, cost_ms=10))
    push(queue, ticket("younger", at=3.0, cost_ms=10))
    assert [pop(queue).request_id for _ in range(3)] == ["old", "young", "younger"] or old.key > 3.0
    assert old.key == 3.0


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(1, 2000)), min_size=1, max_size=60), st.integers(1, 5))
def test_nobody_is_passed_by_whoever_came_later_than_its_aged_cost(arrivals, burst):
    """The bound: only those that arrive within aging x cost of a ticket can go before it, however fast they come."""
    queue, now, order = Queue(10_000, 10**12), 0.0, []
    for number, (gap, cost_ms) in enumerate(arrivals):
        now += gap
        push(queue, ticket(str(number), at=now, cost_ms=cost_ms))
        if number % burst == burst - 1:
            order.append(pop(queue))
    while len(queue):
        order.append(pop(queue))
    for place, one in enumerate(order):
        for earlier in order[:place]:
            if earlier.arrival > one.arrival:  # it overtook
                assert earlier.arrival <= one.arrival + AGING * one.cost_ms * 1e-3 + 1e-9


def test_a_client_that_hung_up_is_out_at_once_wherever_it_stood():
    queue = Queue(100, 10**9)
    waiting = [push(queue, ticket(str(number), cost_ms=100 - number, body_bytes=10)) for number in range(9)]
    assert queue.remove(waiting[4])
    assert not queue.remove(waiting[4])
    assert (len(queue), queue.bytes) == (8, 80)
    assert waiting[4] not in [pop(queue) for _ in range(8)]


def test_it_is_bounded_by_requests_and_by_bytes():
    queue = Queue(2, 1000)
    assert queue.fits(ticket(body_bytes=5000))  # alone, anything may wait
    push(queue, ticket(body_bytes=600))
    assert not queue.fits(ticket(body_bytes=401))
    assert queue.fits(ticket(body_bytes=400))
    push(queue, ticket(body_bytes=400))
    assert not queue.fits(ticket(body_bytes=0))


def test_hopeless_moments_come_in_order_and_only_for_those_who_still_wait():
    queue = Queue(100, 10**9)
    first = push(queue, ticket("first"), hopeless_at=1.0)
    gone = push(queue, ticket("gone"), hopeless_at=0.5)
    push(queue, ticket("later"), hopeless_at=2.0)
    queue.remove(gone)
    assert queue.first_hopeless() == 1.0
    assert queue.pop_hopeless(0.9) is None
    assert queue.pop_hopeless(1.0) is first
    queue.watch(first, 3.0)
    assert queue.first_hopeless() == 2.0


def test_the_same_ticket_may_come_back():
    queue = Queue(100, 10**9)
    one = push(queue, ticket())
    queue.remove(one)
    push(queue, one)
    assert len(queue) == 1
    assert [entry[2] for entry in queue.heads()] == [one]
    assert len(queue.drain()) == 1


def test_classes_and_retries_wait_in_lanes_of_their_own():
    queue = Queue(100, 10**9)
    push(queue, ticket("light"))
    push(queue, heavy("heavy"))
    again = push(queue, ticket("again"), tried=frozenset({"l1"}))
    assert [len(each) for each in (queue.heads(),)] == [3]
    assert (queue.light.count, queue.heavy.count) == (2, 1)
    queue.remove(again)
    assert len(queue.heads()) == 2
    assert repr(queue) == "<Queue 1 light 1 heavy>"


def test_the_oldest_of_each_class_is_known():
    queue = Queue(100, 10**9)
    assert queue.oldest(False) is None
    push(queue, ticket("young", at=9.0))
    push(queue, ticket("old", at=3.0, cost_ms=9000))
    push(queue, heavy("big", at=5.0))
    assert (queue.oldest(False), queue.oldest(True)) == (3.0, 5.0)


def test_many_that_came_and_went_leave_nothing_behind():
    queue = Queue(10_000, 10**12)
    keeper = push(queue, ticket("keeper", at=0.0, cost_ms=1e6))
    for number in range(5000):
        queue.remove(push(queue, ticket(str(number), at=1.0 + number, cost_ms=1e6), hopeless_at=1e9))
    lane = keeper.lane
    assert lane is not None
    assert len(lane.heap) < 200
    assert len(queue._timers) < 200


@given(st.lists(st.tuples(st.sampled_from(["push", "pop", "remove"]), st.integers(0, 50), st.booleans()), max_size=80))
def test_counts_are_those_of_who_waits(steps):
    queue, waiting = Queue(1000, 10**9), []
    for number, (step, which, is_heavy) in enumerate(steps):
        if step == "push":
            make = heavy if is_heavy else ticket
            waiting.append(push(queue, make(str(number), at=float(which), body_bytes=which)))
        elif waiting and step == "pop":
            head = pop(queue)
            assert head.key == min(each.key for each in waiting)
            waiting.remove(head)
        elif waiting:
            queue.remove(waiting.pop(which % len(waiting)))
        assert len(queue) == len(waiting)
        assert queue.bytes == sum(each.body_bytes for each in waiting)
        assert queue.heavy.count == sum(each.heavy for each in waiting)
        assert sorted(each.request_id for lane in queue._lanes.values() for each in lane.tickets()) == sorted(
            each.request_id for each in waiting
        )
