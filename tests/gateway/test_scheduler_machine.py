"""Whatever happens in whatever order: no slot is over-claimed or leaked, nobody is served twice or forgotten."""

from __future__ import annotations

import math
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from discovery.instance import Snapshot, Status
from gateway.backend import SPEED_RANGE
from gateway.config import Health, Routing
from gateway.costs import Costs
from gateway.fleet import Fleet
from gateway.lease import Lease
from gateway.scheduler import Scheduler
from gateway.ticket import Ticket
from tests.fakes.routing import node, with_status
from wire.errors import WireError
from wire.load_report import LoadReport

NAMES = ["l1", "l2", "l3", "h1"]
ENDINGS = ["succeeded", "failed", "busy", "abandoned"]
STATUSES = [Status.PASSING, Status.PASSING, Status.PASSING, Status.WARNING, Status.CRITICAL, Status.MAINTENANCE]
POLICIES = ["earliest_finish", "earliest_finish", "p2c", "round_robin", "least_connections", "least_work", "random"]


class Gateway(RuleBasedStateMachine):
    """A gateway whose fleet, clients and clock do as they please."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.rng = Random(5)
        self.fleet = Fleet(Health(), self.rng)
        self.tickets: dict[str, Ticket] = {}
        self.waiting: dict[str, Ticket] = {}
        self.held: dict[str, Lease] = {}
        self.ended: dict[str, str] = {}
        self.nodes = {}
        self.number = 0
        self.promises: list[str] = []

    @initialize(
        policy=st.sampled_from(POLICIES),
        capacity=st.integers(1, 3),
        spill=st.booleans(),
        adaptive=st.booleans(),
        small_queue=st.booleans(),
        lead=st.sampled_from([0.0, 0.05, 5.0]),
    )
    def start(self, policy, capacity, spill, adaptive, small_queue, lead) -> None:
        routing = Routing(
            policy=policy,
            spill_light_to_heavy=spill,
            spill_heavy_to_light=spill,
            oversize_adaptive=adaptive,
            slo_heavy_ms=500.0,
            prefetch_lead=lead,
            queue_requests=3 if small_queue else 100,
        )
        self.scheduler = Scheduler(self.fleet, Costs(), routing, self.rng)
        self.nodes = {
            name: node(name, capacity=capacity, speed=1.0 + index / 2, max_pixels=10**8 if name[0] == "h" else 10**7)
            for index, name in enumerate(NAMES)
        }
        self.adopt()

    def adopt(self) -> None:
        self.fleet.adopt(Snapshot(instances=frozenset(self.nodes.values())), self.now)
        self.bind()

    def bind(self) -> None:
        for ticket, result in self.scheduler.bind(self.now):
            assert self.waiting.pop(ticket.request_id) is ticket
            self.settle(ticket, result)
        self.nobody_waits_for_idle_nodes()

    def nobody_waits_for_idle_nodes(self) -> None:
        for _, lane, ticket in self.scheduler.queue.heads():
            able = [each for peers in lane.everywhere for each in peers if each.id not in lane.tried]
            assert any(each.in_flight or not each.open for each in able), f"{ticket} waits for {able}"

    def settle(self, ticket: Ticket, result: Lease | WireError) -> None:
        assert ticket.request_id not in self.held
        assert ticket.request_id not in self.ended
        if isinstance(result, Lease):
            assert result.backend.id not in ticket.tried
            assert ticket.pixels <= result.backend.max_pixels
            assert result.backend.in_flight <= result.backend.capacity + 1  # one may be sent ahead
            self.held[ticket.request_id] = result
        else:
            self.ended[ticket.request_id] = result.code

    def submit(self, ticket: Ticket) -> None:
        try:
            result = self.scheduler.submit(ticket, self.now)
        except WireError as error:
            self.settle(ticket, error)
            self.promises.append(error.headers.get("Retry-After", "1"))
            return
        if result is None:
            self.waiting[ticket.request_id] = ticket
        else:
            self.settle(ticket, result)

    # ---- clients ---------------------------------------------------------------------------------------------------

    @rule(
        pixels=st.sampled_from([0, 10**6, 9 * 10**6, 9 * 10**6, 5 * 10**7, 10**9]),
        size=st.sampled_from([0, 1000, 10**7]),
        budget=st.sampled_from([0.0, 0.05, 1.0, 30.0, 30.0]),
        model=st.sampled_from(["", "", "m", "nonsense"]),
        explain=st.booleans(),
    )
    def a_request_comes(self, pixels, size, budget, model, explain) -> None:
        self.number += 1
        ticket = Ticket(
            request_id=str(self.number),
            arrival=self.now,
            deadline=self.now + budget,
            pixels=pixels,
            image_format="jpeg",
            body_bytes=size,
            model=model,
            explain=explain,
        )
        self.scheduler.classify(ticket)
        self.tickets[ticket.request_id] = ticket
        self.submit(ticket)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 999))
    def a_waiting_client_hangs_up(self, which) -> None:
        name = sorted(self.waiting)[which % len(self.waiting)]
        assert self.scheduler.cancel(self.waiting.pop(name))
        self.ended[name] = "client-gone"

    # ---- nodes -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.held)
    @rule(
        which=st.integers(0, 999),
        ending=st.sampled_from(ENDINGS),
        service_ms=st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.floats(1, 1000)),
        again=st.booleans(),
    )
    def an_attempt_ends(self, which, ending, service_ms, again) -> None:
        name = sorted(self.held)[which % len(self.held)]
        lease = self.held.pop(name)
        if ending == "succeeded":
            lease.succeeded(self.now, service_ms)
        elif ending == "failed":
            lease.failed(self.now, "node-unreachable")
        elif ending == "busy":
            lease.busy(self.now)
        else:
            lease.abandoned(self.now)
        assert lease.decision.winner == lease.backend.id
        if again and ending in {"failed", "busy"}:
            lease.ticket.tried.add(lease.backend.id)
            self.submit(lease.ticket)
        else:
            self.ended[name] = ending
        self.bind()

    @rule(name=st.sampled_from(NAMES), ok=st.booleans())
    def a_probe_answers(self, name, ok) -> None:
        self.fleet.probed(name, ok, self.now, "" if ok else "timed out")
        self.bind()

    @rule(
        name=st.sampled_from(NAMES),
        inflight=st.floats(0, 1e9),
        queued=st.floats(0, 1e9),
        work_ms=st.floats(0, 1e300),
    )
    def a_node_reports(self, name, inflight, queued, work_ms) -> None:
        said = {"inflight": inflight, "queue_depth": queued, "work_ms": work_ms}
        self.fleet.reported(name, LoadReport(named_metrics=said), self.now)
        self.bind()

    # ---- registry and operators ------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES), status=st.sampled_from(STATUSES), speed=st.sampled_from([1.0, 2.0, 0.0, math.nan])
    )
    def a_node_is_announced(self, name, status, speed) -> None:
        self.nodes[name] = with_status(node(name, capacity=2, speed=speed, max_pixels=10**8), status)
        self.adopt()

    @rule(name=st.sampled_from(NAMES))
    def a_node_vanishes(self, name) -> None:
        self.nodes.pop(name, None)
        self.adopt()

    @rule()
    def the_registry_is_wiped(self) -> None:
        self.fleet.adopt(Snapshot(instances=frozenset()), self.now)
        self.bind()

    @rule(name=st.sampled_from(NAMES), order=st.sampled_from(["drain", "undrain", "eject", "restore", "weight"]))
    def an_operator_gives_an_order(self, name, order) -> None:
        if name not in self.fleet.backends:
            return
        if order == "weight":
            self.fleet.set_weight(name, self.rng.choice([0.0, 0.5, 1.0, 3.0]))
        elif order in {"drain", "eject"}:
            getattr(self.fleet, order)(name, self.now, "because")
        else:
            getattr(self.fleet, order)(name, self.now)
        self.bind()

    # ---- time ------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.03, 0.2, 1.0, 8.0, 70.0]))
    def time_passes(self, seconds) -> None:
        self.now += seconds
        self.bind()

    @rule(seconds=st.sampled_from([0.5, 10.0, 1e6]))
    def the_clock_jumps_back(self, seconds) -> None:
        self.now -= seconds
        self.bind()

    @rule()
    def the_timer_fires(self) -> None:
        wake = self.scheduler.next_wake(self.now)
        if wake is None:
            assert not self.waiting
        else:
            assert wake >= self.now
            self.now = min(wake, self.now + 1.0)
            self.bind()

    # ---- what must always hold -------------------------------------------------------------------------------------

    @invariant()
    def every_request_is_in_exactly_one_place(self) -> None:
        places = [set(self.waiting), set(self.held), set(self.ended)]
        assert sum(map(len, places)) == len(self.tickets)
        assert set().union(*places) == set(self.tickets)
        if self.nodes or self.tickets:
            assert len(self.scheduler.queue) == len(self.waiting)
            assert all(ticket.lane is not None for ticket in self.waiting.values())

    @invariant()
    def slots_are_counted_right_and_never_over_claimed(self) -> None:
        by_backend: dict[int, int] = {}
        for lease in self.held.values():
            by_backend[id(lease.backend)] = by_backend.get(id(lease.backend), 0) + 1
        for backend in self.fleet.backends.values():
            assert backend.in_flight == by_backend.get(id(backend), 0)
            assert backend.in_flight == len(backend.running) + len(backend.waiting)
        crossed = [lease for lease in self.held.values() if lease.ticket.heavy and lease.backend.pool == "light"]
        if self.nodes or self.tickets:
            assert self.scheduler.heavy_on_light() == sum(lease.backend.usable for lease in crossed)

    @invariant()
    def promises_are_whole_seconds(self) -> None:
        assert all(1 <= int(promise) <= 60 for promise in self.promises)

    @invariant()
    def numbers_stay_numbers(self) -> None:
        for backend in self.fleet.backends.values():
            assert backend.nominal / SPEED_RANGE <= backend.speed <= backend.nominal * SPEED_RANGE
            assert 0.0 < backend.per_ms < math.inf
            assert 0.0 <= backend.lag < math.inf
            left = sum(each.ticket.cost_ms for each in backend.waiting)
            left += sum(each.ticket.cost_ms for each in backend.running) / 2
            assert math.isclose(backend.left_ms, left, abs_tol=1e-3)

    @invariant()
    def the_index_holds_exactly_the_usable(self) -> None:
        indexed = {each.id for peers in self.fleet.peers() for each in peers}
        assert indexed == {name for name, each in self.fleet.backends.items() if each.usable}
        for peers in self.fleet.peers():
            members = list(peers)
            assert (peers.size, peers.slots) == (len(members), sum(each.capacity for each in members))
            assert math.isclose(peers.left_ms, sum(each.left_ms for each in members), abs_tol=1e-3)
            for shelf in (peers.open, peers.full, peers.stuffed):
                assert shelf == sorted(shelf, key=lambda entry: entry[:3])
            for each in members:
                assert (each.entry in peers.open) is each.open

    @invariant()
    def the_page_can_be_drawn(self) -> None:
        for row in self.fleet.view(self.now):
            assert row.why
            assert row.since_seconds >= 0.0
            assert 0.0 <= row.traffic_share <= 1.0

    def teardown(self) -> None:
        """At the end everybody answers, and everything is back where it was."""
        for lease in self.held.values():
            lease.abandoned(self.now)
        for _, result in self.scheduler.bind(self.now) if self.nodes or self.tickets else []:
            if isinstance(result, Lease):
                result.abandoned(self.now)
        for backend in self.fleet.backends.values():
            assert (backend.in_flight, backend.work_ms, backend.left_ms) == (0, 0.0, 0.0)


TestGateway = Gateway.TestCase
TestGateway.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
