"""Several gateways under the simulated clock: the real scheduler in each, real credits on nodes; lines take time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from gateway.config import Health
from gateway.costs import Costs
from gateway.fleet import Fleet
from gateway.lease import Lease
from gateway.scheduler import Scheduler
from gateway.ticket import Ticket
from loadtest.simulate.arrivals import Arrival, Load
from loadtest.simulate.machines import Bench, FleetPlan, Machine
from loadtest.simulate.world import BYTES_PER_SECOND, Options, Record, World, ticket_of
from node.credits import Credits, Seat, Stay
from wire.errors import WireError
from wire.grants import Ask, Granting, Label, No, Others, Yes
from wire.load_report import LoadReport

NEVER = float("inf")


class Door:
    """One gateway."""

    def __init__(self, name: str, plan: FleetPlan, options: Options, number: int) -> None:
        rng = Random(f"{options.seed} {number}")
        self.name = name
        self.fleet = Fleet(Health(), rng)
        self.fleet.adopt(plan.snapshot(pools=options.pools), 0.0)
        self.scheduler = Scheduler(self.fleet, Costs(), options.routing, rng)
        self.records: dict[str, Record] = {}
        self.asked: dict[tuple[str, int], Lease] = {}
        self.number = 0
        self.wake_at = NEVER


class Place:
    """One node."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.bench = Bench(machine)
        self.credits = Credits(machine.slots)
        self.running: dict[_Job, None] = {}  # in order, so that a run can be repeated
        self.seats: dict[Seat, Door] = {}
        self.wake_at = NEVER


class _Job:
    __slots__ = ("began", "door", "due", "lease", "record", "service_ms", "stay")

    def __init__(self, door: Door, lease: Lease, record: Record) -> None:
        self.door = door
        self.lease = lease
        self.record = record
        self.stay: Stay | None = None
        self.began = self.due = self.service_ms = 0.0


class Several:
    """One run. Build it, then call `run` once. Without `streams` nodes are foreign: they report with their answers."""

    def __init__(self, load: Load, plan: FleetPlan, options: Options, streams: bool = True) -> None:
        self.options = options
        self.load = load
        self.streams = streams
        self._rng = Random(options.seed)
        self.doors = [Door(f"g{number}", plan, options, number) for number in range(options.gateways)]
        self.places = {machine.name: Place(machine) for machine in plan.machines}
        self.records: list[Record] = []
        self.refused = self.denied = self.asks = self.direct = self.lines = 0
        self._events: list[tuple[float, int, Callable[[float], object]]] = []
        self._sequence = 0
        if streams:
            for place in self.places.values():
                for door in self.doors:
                    place.seats[place.credits.attach(door.name, 0.0)] = door
                self._settle(place, 0.0)

    def run(self) -> list[Record]:
        """All requests to their ends, in order of arrival."""
        arrivals, events = self.load.arrivals, self._events
        coming = 0
        while coming < len(arrivals) or events:
            if coming < len(arrivals) and (not events or arrivals[coming].at <= events[0][0]):
                self._arrive(arrivals[coming], coming)
                coming += 1
                continue
            now, _, happens = heappop(events)
            happens(now)
        return self.records

    # ---- a gateway -------------------------------------------------------------------------------------------------

    def _arrive(self, arrival: Arrival, number: int) -> None:
        now = arrival.at
        door = self._rng.choice(self.doors)
        ticket, heavy = ticket_of(arrival, number, door.scheduler, self.options)
        record = Record(arrival, heavy, NEVER)
        self.records.append(record)
        door.records[ticket.request_id] = record
        self._submit(door, ticket, now)

    def _submit(self, door: Door, ticket: Ticket, now: float) -> None:
        try:
            lease = door.scheduler.submit(ticket, now)
        except WireError:
            return
        if lease is not None:
            self._leased(door, lease, now)
        self._arm(door, now)

    def _bind(self, door: Door, now: float) -> None:
        for _, result in door.scheduler.bind(now):
            if not isinstance(result, WireError):
                self._leased(door, result, now)
        self._arm(door, now)

    def _arm(self, door: Door, now: float) -> None:
        wake = door.scheduler.next_wake(now)
        at = NEVER if wake is None else wake + 1e-6
        if at < door.wake_at:
            door.wake_at = at
            self._at(at, lambda then: self._woken(door, then))

    def _woken(self, door: Door, now: float) -> None:
        if now == door.wake_at:
            door.wake_at = NEVER
            self._bind(door, now)

    def _leased(self, door: Door, lease: Lease, now: float) -> None:
        if not lease.ask:
            self.direct += 1
            self._send(door, lease, 0, now)
            return
        self.asks += 1
        door.number += 1
        door.asked[lease.backend.id, door.number] = lease
        ticket = lease.ticket
        ask = Ask(door.number, (now - ticket.key) * 1e3, ticket.cost_ms * lease.backend.per_ms * 1e3, ticket.heavy)
        place = self.places[lease.backend.id]
        self._later(now, lambda then: self._hear(place, door, ask, then))

    def _hear(self, place: Place, door: Door, ask: Ask, now: float) -> None:
        seat = next(seat for seat, owner in place.seats.items() if owner is door)
        place.credits.hear(seat, ask, now)
        self._settle(place, now)

    def _told(self, door: Door, place: Place, said: Granting, now: float) -> None:
        if isinstance(said, Others):
            door.fleet.shared(place.machine.name, said, now)
        elif isinstance(said, Yes | No):
            lease = door.asked.pop((place.machine.name, said.number))
            if isinstance(said, Yes):
                self._send(door, lease, said.number, now)
            else:
                self.denied += 1
                lease.denied(now)
                self._submit(door, lease.ticket, now)
        self._bind(door, now)

    def _send(self, door: Door, lease: Lease, number: int, now: float) -> None:
        record = door.records[lease.ticket.request_id]
        record.node, record.crossed = lease.backend.id, bool(lease.note)
        job = _Job(door, lease, record)
        ticket = lease.ticket
        label = Label(door.name, number, ticket.cost_ms * lease.backend.per_ms * 1e3, ticket.heavy)
        self._later(now, lambda then: self._head(job, label, then))

    def _refused(self, job: _Job, now: float) -> None:
        self.refused += 1
        job.lease.busy(now)
        job.lease.ticket.attempts -= 1
        job.lease.ticket.asks_first = True
        self._submit(job.door, job.lease.ticket, now)
        self._bind(job.door, now)

    def _answer(self, job: _Job, report: LoadReport | None, now: float) -> None:
        job.record.finish = now
        if report is not None:
            job.door.fleet.reported(job.record.node, report, now)
        job.lease.succeeded(now, job.service_ms)
        self._bind(job.door, now)

    # ---- a node ----------------------------------------------------------------------------------------------------

    def _head(self, job: _Job, label: Label, now: float) -> None:
        place = self.places[job.record.node]
        if self.streams:
            job.stay = place.credits.arrive(label, now)
            self._settle(place, now)
            if job.stay is None:
                self._later(now, lambda then: self._refused(job, then))
                return
        elif place.bench.busy >= place.machine.slots and len(place.bench.queue) >= 16:
            self._later(now, lambda then: self._refused(job, then))
            return
        self._at(
            now + job.lease.ticket.body_bytes / BYTES_PER_SECOND,
            lambda then: self._start(place, place.bench.take(job), then),
        )

    def _start(self, place: Place, job: _Job | None, now: float) -> None:
        if job is None:
            return
        job.began = now
        job.due = now + job.record.arrival.actual_ms * 1e-3 / place.machine.pace
        place.running[job] = None
        self._at(job.due, lambda then: self._done(place, job, then))

    def _done(self, place: Place, job: _Job, now: float) -> None:
        place.running.pop(job, None)
        self._start(place, place.bench.finish(), now)
        job.service_ms = (now - job.began) * 1e3
        report = None if self.streams else self._report(place, now)
        self._later(now, lambda then: self._answer(job, report, then))
        if job.stay is not None:
            place.credits.leave(job.stay, now)
            self._settle(place, now)

    def _report(self, place: Place, now: float) -> LoadReport:
        """As a foreign server's answer carries it."""
        bench = place.bench
        owed = [job.record.arrival.actual_ms / place.machine.pace for job in bench.queue]
        left = [max(0.0, job.due - now) * 1e3 for job in place.running]
        inside = {"inflight": bench.busy, "queue_depth": len(bench.queue), "work_ms": sum(owed) + sum(left)}
        return LoadReport(named_metrics=inside)

    def _settle(self, place: Place, now: float) -> None:
        for seat, said in place.credits.settle(now):
            self.lines += 1
            self._line(place, place.seats[seat], said, now)
        wake = place.credits.next_wake()
        if wake < place.wake_at:
            place.wake_at = wake
            self._at(wake + 1e-6, lambda then: self._woken_place(place, then))

    def _line(self, place: Place, door: Door, said: Granting, now: float) -> None:
        self._later(now, lambda then: self._told(door, place, said, then))

    def _woken_place(self, place: Place, now: float) -> None:
        place.wake_at = NEVER
        self._settle(place, now)

    # ---- the clock -------------------------------------------------------------------------------------------------

    def _later(self, now: float, happens: Callable[[float], object]) -> None:
        self._at(now + self.options.latency, happens)

    def _at(self, when: float, happens: Callable[[float], object]) -> None:
        self._sequence += 1
        heappush(self._events, (when, self._sequence, happens))


def simulate(load: Load, plan: FleetPlan, options: Options) -> list[Record]:
    """Run a load through a fleet behind as many gateways as the options say."""
    return (World if options.gateways == 1 else Several)(load, plan, options).run()
