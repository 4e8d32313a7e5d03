"""One node's view: what it holds, what it shows, what it may not pretend."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backend import FOREIGN_FRESH, LAG_MAX, SPEED_RANGE, Backend
from gateway.config import Health
from gateway.lease import Lease
from gateway.ticket import Ticket
from tests.fakes.routing import heavy, node, ticket
from wire.load_report import LoadReport


class NoKeeper:
    """Backends count by themselves here."""

    def ended(self, lease, now): ...
    def taught(self, lease, now, service_ms): ...
    def blamed(self, lease, now, error_code): ...
    def refused(self, lease, now): ...
    def explained(self, lease): ...


def backend(**facts) -> Backend:
    return Backend(node("n", **facts), Health(), 0.0, 1)


def claimed(backend: Backend, work: Ticket, now: float = 0.0) -> Lease:
    lease = Lease(NoKeeper(), work, now, backend, now, now, "")
    backend.claim(lease, now)
    return lease


def report(inflight=0, queued=0, work_ms=0.0) -> LoadReport:
    return LoadReport(named_metrics={"inflight": inflight, "queue_depth": queued, "work_ms": work_ms})


def test_an_idle_node_is_free_now_and_says_so_in_one_line():
    idle = backend()
    assert idle.open
    assert idle.free_in(5.0) == 0.0
    assert repr(idle) == "<Backend n healthy 0/1>"


def test_a_busy_node_is_free_when_its_work_is_done_at_its_speed():
    busy = backend(speed=2.0)
    claimed(busy, ticket(cost_ms=100), 1.0)
    assert not busy.open
    assert busy.free_in(1.0) == pytest.approx(0.05)
    assert busy.free_in(1.04) == pytest.approx(0.01)


def test_work_sent_ahead_begins_when_the_first_ends_and_not_before():
    busy = backend()
    first = claimed(busy, ticket(cost_ms=100), 0.0)
    second = claimed(busy, ticket(cost_ms=50), 0.08)
    assert second.began is None
    assert busy.free_in(0.08) == pytest.approx(0.07)
    busy.release(first, 0.2)
    assert second.began == 0.2
    assert busy.free_in(0.2) == pytest.approx(0.05)


def test_a_node_that_is_late_is_expected_to_be_late_by_as_much_again():
    hanging = backend()
    claimed(hanging, ticket(cost_ms=100), 0.0)
    assert hanging.free_in(0.15) == pytest.approx(0.05)
    assert hanging.free_in(3.1) == pytest.approx(3.0)


def test_a_node_of_several_slots_is_free_when_the_first_of_them_is():
    wide = backend(capacity=2)
    claimed(wide, ticket(cost_ms=300), 0.0)
    assert wide.open
    claimed(wide, ticket(cost_ms=100), 0.0)
    assert wide.free_in(0.0) == pytest.approx(0.1)
    claimed(wide, ticket(cost_ms=100), 0.0)
    assert wide.free_in(0.0) == pytest.approx(0.2)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0.1, 1e5), st.booleans()), max_size=30),
    st.integers(0, 2**32),
)
def test_counts_return_to_nothing_in_whatever_order_leases_end(capacity, steps, seed):
    rng = Random(seed)
    one = backend(capacity=capacity)
    held: list[Lease] = []
    for at, (cost, take) in enumerate(steps):
        if take and len(held) <= capacity:
            held.append(claimed(one, ticket(cost_ms=cost), float(at)))
        elif held:
            one.release(held.pop(rng.randrange(len(held))), float(at))
        assert one.in_flight == len(held) == len(one.running) + len(one.waiting)
        assert len(one.running) == min(len(held), capacity)
        assert one.work_ms == pytest.approx(sum(each.ticket.cost_ms for each in held))
        assert one.left_ms >= -1e-6
        assert 0.0 <= one.free_in(float(at)) < math.inf
    for lease in held:
        one.release(lease, 99.0)
    assert (one.in_flight, one.work_ms, one.left_ms) == (0, 0.0, 0.0)


def test_speed_follows_the_nodes_own_times():
    slow = backend(speed=1.0)
    for step in range(60):
        lease = claimed(slow, ticket(cost_ms=100), float(step))
        slow.release(lease, step + 0.3)
        slow.answered(lease, step + 0.3, 300.0)
    assert slow.speed == pytest.approx(1 / 3, rel=0.02)


@given(st.lists(st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.none()), min_size=1, max_size=60))
def test_absurd_times_never_carry_a_learned_speed_out_of_its_range(times):
    one = backend(speed=2.0)
    for step, service_ms in enumerate(times):
        lease = claimed(one, ticket(cost_ms=50, body_bytes=1000), float(step))
        one.release(lease, step + 0.05)
        one.answered(lease, step + 0.05, service_ms)
        assert 2.0 / SPEED_RANGE <= one.speed <= 2.0 * SPEED_RANGE
        assert 0.0 < one.per_ms < math.inf
        assert 0.0 <= one.lag <= LAG_MAX


def test_one_absurd_answer_moves_the_speed_a_little():
    one = backend()
    lease = claimed(one, ticket(cost_ms=100), 0.0)
    one.answered(lease, 0.1, 1e-9)
    assert one.speed < 1.31


@pytest.mark.parametrize("said", [0.0, -1.0, math.nan, math.inf, 1e300, 1e-300])
def test_an_impossible_announced_speed_is_not_believed(said):
    one = backend(speed=said)
    assert 0.0 < one.per_ms < math.inf
    assert 1e-3 <= one.speed <= 1e3


@pytest.mark.parametrize("said", [0, -5, 10**9])
def test_an_impossible_capacity_is_cut_to_a_possible_one(said):
    assert 1 <= backend(capacity=said).capacity <= 1024


def test_a_node_that_says_little_but_takes_long_gets_a_lag():
    """The black hole: 1 ms by its own word, a second by our clock."""
    liar = backend()
    for step in range(30):
        lease = claimed(liar, ticket(cost_ms=50, body_bytes=1000), float(step * 2))
        liar.release(lease, step * 2 + 1.0)
        liar.answered(lease, step * 2 + 1.0, 1.0)
    assert liar.lag > 0.9


def test_ordinary_overhead_is_no_lag():
    near = backend()
    for step in range(30):
        lease = claimed(near, ticket(cost_ms=50, body_bytes=1_000_000), float(step))
        near.release(lease, step + 0.085)
        near.answered(lease, step + 0.085, 50.0)
    assert near.lag == 0.0


def test_a_slow_client_of_a_streamed_body_is_not_held_against_the_node():
    one = backend()
    for size in (0, 50 << 20):
        lease = claimed(one, heavy(body_bytes=size), 0.0)
        one.release(lease, 60.0)
        one.answered(lease, 60.0, 1000.0)
    assert one.lag == 0.0


def test_a_node_failing_fast_does_not_look_fast():
    sinkhole = backend()
    for _ in range(5):
        sinkhole.erred("node-garbage", 0.0)
    assert sinkhole.lag > 1.0
    assert sinkhole.speed == 1.0


def test_what_was_learned_long_ago_fades_so_that_the_node_is_tried_again():
    once_slow = backend()
    once_slow.erred("node-garbage", 0.0)
    lease = claimed(once_slow, ticket(cost_ms=10), 0.0)
    once_slow.release(lease, 1.0)
    once_slow.answered(lease, 1.0, 1000.0)
    slow = once_slow.speed
    for second in range(2, 600):
        once_slow.forgive(float(second))
    assert once_slow.lag == 0.0
    assert once_slow.speed > slow
    assert once_slow.speed == pytest.approx(1.0, rel=0.01)


def test_a_foreign_server_without_times_teaches_by_what_it_did_on_a_free_slot():
    foreign = backend(protocol="oip")
    for step in range(60):
        lease = claimed(foreign, ticket(cost_ms=100), float(step))
        foreign.release(lease, step + 0.2)
        foreign.answered(lease, step + 0.2, None)
    assert foreign.speed == pytest.approx(0.5, rel=0.05)


def test_our_own_node_that_says_no_time_teaches_no_speed():
    one = backend()
    lease = claimed(one, ticket(cost_ms=100), 0.0)
    one.answered(lease, 9.0, None)
    assert one.speed == 1.0


def test_others_work_closes_a_slot_for_as_long_as_it_should_take():
    shared = backend()
    shared.told(report(inflight=1, work_ms=400.0), 10.0)
    assert not shared.open
    assert shared.free_in(10.1) == pytest.approx(0.3)
    assert shared.free_in(10.5) == 0.0


def test_our_own_requests_in_a_report_are_not_others():
    ours = backend()
    lease = claimed(ours, ticket(), 0.0)
    claimed(ours, ticket(), 0.05)
    ours.release(lease, 0.1)
    ours.told(report(inflight=1, queued=1, work_ms=50.0), 0.1)  # written before the answer left the node
    assert ours.foreign == 0


@given(st.floats(0, 1e308), st.floats(0, 1e308), st.floats(0, 1e308))
def test_a_lying_report_closes_a_node_for_seconds_at_most(inflight, queued, work_ms):
    liar = backend()
    liar.told(LoadReport(named_metrics={"inflight": inflight, "queue_depth": queued, "work_ms": work_ms}), 100.0)
    assert 0.0 <= liar.free_in(100.0) <= FOREIGN_FRESH
    assert liar.free_in(100.0 + FOREIGN_FRESH) == 0.0
    liar.forget_foreign(100.0 + FOREIGN_FRESH)
    assert liar.open


def test_a_report_that_says_nothing_closes_nothing():
    silent = backend()
    silent.told(LoadReport(application_utilization=0.9), 1.0)
    assert silent.open


def test_a_refusal_closes_the_node_for_a_moment():
    full = backend()
    full.refused(7.0)
    assert not full.open
    assert 0.0 < full.free_in(7.0) <= 1.0


def test_share_of_traffic_counts_about_the_last_half_minute():
    one = backend()
    for second in range(100):
        lease = claimed(one, ticket(), second * 1.0)
        one.release(lease, second + 0.5)
    assert one.rate_now(100.0) == pytest.approx(30, abs=5)
    assert one.rate_now(500.0) == 0.0
    assert one.rate_now(-50.0) == 0.0


@pytest.mark.parametrize(("weight", "meant"), [(0.5, 0.5), (-1.0, 0.0), (math.nan, 1.0), (math.inf, 1.0), (1e9, 100.0)])
def test_an_operators_weight_is_kept_within_reason(weight, meant):
    one = backend()
    one.set_weight(weight)
    assert one.weight == meant
    assert 0.0 < one.per_ms < math.inf


def test_new_facts_keep_what_was_learned_unless_the_claimed_speed_changed():
    one = backend()
    lease = claimed(one, ticket(cost_ms=100), 0.0)
    one.release(lease, 0.2)
    one.answered(lease, 0.2, 200.0)
    learned = one.speed
    one.adopt(node("n", max_pixels=5))
    assert (one.speed, one.max_pixels) == (learned, 5)
    one.adopt(node("n", speed=4.0))
    assert one.speed == 4.0
