"""The simulated clock: arrivals, bodies on the way, work on nodes, and the gateway's real scheduler in the middle."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

import msgspec

from gateway.config import Health, Retry, Routing
from gateway.costs import Costs
from gateway.fleet import Fleet
from gateway.lease import Lease
from gateway.retry_budget import RetryBudget
from gateway.scheduler import Binding, Scheduler
from gateway.ticket import Ticket
from loadtest.simulate.arrivals import Arrival, Load
from loadtest.simulate.machines import Bench, FleetPlan
from wire.errors import WireError

BYTES_PER_SECOND = 50e6  # how fast bodies travel to nodes
FOREVER = 1e9
RETRY = Retry()

BODY, DONE, ANSWER, WAKE, EVENT = range(5)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway is set up in one run."""

    name: str = "earliest_finish"
    routing: Routing = Routing(queue_requests=1_000_000, queue_bytes=1 << 50)
    pools: bool = True  # False: one pool of all nodes
    early: bool = False  # True: nodes queue, as behind a proxy without a limit per node
    shed: bool = True  # deadlines are the targets of the classes; False: nobody is ever too late
    predict: bool = False  # True: the gateway predicts and learns costs by itself
    seed: int = 1
    gateways: int = 1  # beside each other on the same nodes; see several.py
    latency: float = 0.0005  # seconds that words between several gateways and nodes take


class Record(msgspec.Struct):
    """How one request fared. `finish` is infinite when it was refused."""

    arrival: Arrival
    heavy: bool
    finish: float
    node: str = ""
    crossed: bool = False

    @property
    def seconds(self) -> float:
        """From arrival to answer."""
        return self.finish - self.arrival.at


class _Job:
    __slots__ = ("began", "lease", "record", "service_ms")

    def __init__(self, lease: Lease, record: Record) -> None:
        self.lease = lease
        self.record = record
        self.began = self.service_ms = 0.0


class World:
    """One run. Build it, then call `run` once."""

    def __init__(self, load: Load, plan: FleetPlan, options: Options) -> None:
        rng = Random(options.seed)
        self.options = options
        self.load = load
        self.fleet = Fleet(Health(), rng)
        self.fleet.adopt(plan.snapshot(pools=options.pools, visible_slots=1024 if options.early else 0), 0.0)
        self.scheduler = Scheduler(self.fleet, Costs(), options.routing, rng)
        self.retries = RetryBudget(RETRY.budget, RETRY.budget_min)
        self.benches = {machine.name: Bench(machine) for machine in plan.machines}
        self.records: list[Record] = []
        self._waiting: dict[str, Record] = {}
        self._events: list[tuple[float, int, int, _Job | Callable[[], object] | None]] = []
        self._sequence = 0
        self._wake_at = float("inf")

    def run(self) -> list[Record]:
        """All requests to their ends, in order of arrival."""
        arrivals, events = self.load.arrivals, self._events
        next_arrival = 0
        while next_arrival < len(arrivals) or events:
            if next_arrival < len(arrivals) and (not events or arrivals[next_arrival].at <= events[0][0]):
                self._arrive(arrivals[next_arrival], next_arrival)
                next_arrival += 1
                continue
            now, _, kind, what = heappop(events)
            self._happen(kind, what, now)
        return self.records

    def _happen(self, kind: int, what: _Job | Callable[[], object] | None, now: float) -> None:
        if isinstance(what, _Job):
            if kind == BODY:
                self._start(self.benches[what.record.node].take(what), now)
            elif kind == DONE:
                self._finish(what, now)
            else:
                self._answer(what, now)
        elif what is not None:
            what()
            self._bind(now)
        elif now == self._wake_at:  # else an earlier wake-up took its place
            self._wake_at = float("inf")
            self._bind(now)

    def at(self, when: float, happens: Callable[[], object]) -> None:
        """Let something happen to the fleet at a time; what waits is looked at after it."""
        self._push(when, EVENT, happens)

    def _arrive(self, arrival: Arrival, number: int) -> None:
        now = arrival.at
        ticket, heavy = ticket_of(arrival, number, self.scheduler, self.options)
        record = Record(arrival, heavy, float("inf"))
        self.records.append(record)
        self.retries.deposit(now)
        self._ask(ticket, record, now)

    def _ask(self, ticket: Ticket, record: Record, now: float) -> None:
        self._waiting[ticket.request_id] = record
        try:
            lease = self.submit(ticket, now)
        except WireError:
            del self._waiting[ticket.request_id]
            return
        if lease is not None:
            self._send(lease, now)
        self._arm(now)

    # The three calls into the gateway's code, so that they can be timed.

    def submit(self, ticket: Ticket, now: float) -> Lease | None:
        """A request has come."""
        return self.scheduler.submit(ticket, now)

    def end(self, lease: Lease, now: float, service_ms: float) -> None:
        """A node has answered."""
        lease.succeeded(now, service_ms)

    def bind(self, now: float) -> list[Binding]:
        """Something has changed."""
        return self.scheduler.bind(now)

    def _bind(self, now: float) -> None:
        for ticket, result in self.bind(now):
            if isinstance(result, WireError):
                del self._waiting[ticket.request_id]
            else:
                self._send(result, now)
        self._arm(now)

    def _arm(self, now: float) -> None:
        wake = self.scheduler.next_wake(now)
        # A hair later than asked, so that what was to be true then is true.
        at = float("inf") if wake is None else wake + 1e-6
        if at < self._wake_at:
            self._wake_at = at
            self._push(at, WAKE, None)

    def _send(self, lease: Lease, now: float) -> None:
        record = self._waiting.pop(lease.ticket.request_id)
        record.node, record.crossed = lease.backend.id, bool(lease.note)
        self._push(now + lease.ticket.body_bytes / BYTES_PER_SECOND, BODY, _Job(lease, record))

    def _start(self, job: _Job | None, now: float) -> None:
        if job is not None:
            job.began = now
            machine = self.benches[job.record.node].machine
            seconds = 0.001 if machine.fails else job.record.arrival.actual_ms * 1e-3 / machine.pace
            self._push(now + seconds, DONE, job)

    def _finish(self, job: _Job, now: float) -> None:
        """The node is done; its answer may come later."""
        bench = self.benches[job.record.node]
        self._start(bench.finish(), now)
        job.service_ms = (now - job.began) * 1e3 * bench.machine.tells
        if bench.machine.delay:
            self._push(now + bench.machine.delay, ANSWER, job)
        else:
            self._answer(job, now)

    def _answer(self, job: _Job, now: float) -> None:
        ticket, record = job.lease.ticket, job.record
        if self.benches[record.node].machine.fails:
            job.lease.failed(now, "node-garbage")
            ticket.tried.add(record.node)
            if ticket.attempts < RETRY.attempts and self.retries.withdraw(now):
                self._ask(ticket, record, now)
        else:
            record.finish = now
            self.end(job.lease, now, job.service_ms)
        self._bind(now)

    def _push(self, at: float, kind: int, what: _Job | Callable[[], object] | None) -> None:
        self._sequence += 1
        heappush(self._events, (at, self._sequence, kind, what))


def ticket_of(arrival: Arrival, number: int, scheduler: Scheduler, options: Options) -> tuple[Ticket, bool]:
    """An arrival as a gateway sees it, and whether it is heavy by what is known of it."""
    ticket = Ticket(
        request_id=str(number),
        arrival=arrival.at,
        deadline=FOREVER,
        cost_ms=arrival.cost_ms,
        pixels=arrival.pixels,
        image_format=arrival.image_format,
        body_bytes=arrival.body_bytes,
        model=arrival.model,
        heavy=bool(arrival.heavy),
    )
    if options.predict or not arrival.cost_ms:
        scheduler.classify(ticket)
    heavy = ticket.heavy if arrival.heavy is None else arrival.heavy
    if not options.pools:
        ticket.heavy = False
    if options.shed:
        routing = options.routing
        ticket.deadline = arrival.at + (routing.slo_heavy_ms if heavy else routing.slo_light_ms) * 1e-3
    return ticket, heavy


def simulate(load: Load, plan: FleetPlan, options: Options) -> list[Record]:
    """Run a load through a fleet behind one gateway."""
    return World(load, plan, options).run()
