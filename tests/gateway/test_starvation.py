"""Nobody starves: who may go before a waiting request is bounded, under any load, pressure and mix of classes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.lease import Lease
from gateway.ticket import Ticket
from tests.fakes.routing import fleet_named, heavy, scheduler_of, ticket

AGING = 3.0


def latest(waiting: Ticket) -> float:
    """The bound: nobody who arrives after this goes before it."""
    return waiting.arrival + AGING * waiting.cost_ms * 1e-3 + 1e-9


def may_go_before(lease: Lease, waiting: Ticket) -> bool:
    """Whether the bound holds: in its class, and for a node of the heavy pool across the classes."""
    one = lease.ticket
    if one.heavy != waiting.heavy and not (waiting.heavy and lease.backend.pool == "heavy"):
        return True
    return one.arrival <= latest(waiting)


steps = st.lists(
    st.tuples(
        st.floats(0.0, 0.5),  # seconds until it comes
        st.floats(1.0, 3000.0),  # its cost
        st.booleans(),  # whether it is heavy
        st.integers(0, 2),  # how many answers come before it
    ),
    min_size=1,
    max_size=80,
)


@given(steps, st.sampled_from([0.0, 0.02, 1.0]), st.sampled_from([0.0, 3.0]))
def test_nobody_is_passed_by_whoever_came_later_than_its_aged_cost(steps, lead, ease):
    scheduler = scheduler_of(
        fleet_named("l1", "l2", "h1"),
        aging=AGING,
        aging_at_ease=ease,
        prefetch_lead=lead,
        slo_light_ms=100.0,  # so that pressure comes and goes
        slo_heavy_ms=1000.0,
    )
    waiting: dict[str, Ticket] = {}
    held: list[Lease] = []
    now = 0.0

    def granted(lease: Lease) -> None:
        waiting.pop(lease.ticket.request_id, None)
        assert all(may_go_before(lease, each) for each in waiting.values())
        held.append(lease)

    def answer() -> None:
        lease = held.pop(0)
        lease.succeeded(now, lease.ticket.cost_ms)
        for _, result in scheduler.bind(now):
            assert isinstance(result, Lease)
            granted(result)

    for number, (gap, cost_ms, is_heavy, answers) in enumerate(steps):
        now += gap
        for _ in range(min(answers, len(held))):
            answer()
        one = (heavy if is_heavy else ticket)(str(number), at=now, budget=1e6, cost_ms=cost_ms)
        lease = scheduler.submit(one, now)
        if lease is None:
            waiting[one.request_id] = one
        else:
            granted(lease)
    while held:
        now += 1.0
        answer()
    assert not waiting


def test_heavy_work_is_served_under_a_flood_of_light_work():
    """Twice as much light work as both nodes can do: what arrived by 3 s goes first, and that is done at 6 s."""
    scheduler = scheduler_of(fleet_named("l1", "h1"), prefetch_lead=0.0, aging=AGING, queue_requests=100_000)
    held = [scheduler.submit(ticket(name, budget=1e6), 0.0) for name in ("first", "second")]
    assert scheduler.submit(heavy("big", budget=1e6, cost_ms=1000.0), 0.0) is None
    served: dict[str, float] = {}
    for tick in range(1, 100):
        now = tick * 0.1
        for lease in held:
            assert isinstance(lease, Lease)
            lease.succeeded(now, lease.ticket.cost_ms)
        came = [scheduler.submit(ticket(f"{tick}-{number}", at=now, budget=1e6), now) for number in range(4)]
        held = [lease for lease in came if lease] + [result for _, result in scheduler.bind(now)]
        served |= {lease.ticket.request_id: now for lease in held if isinstance(lease, Lease)}
        if "big" in served:
            break
    assert 3.0 <= served["big"] <= 6.5
