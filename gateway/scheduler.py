"""The whole routing decision, without I/O: what a request costs, who waits, who goes where, who has no hope.

One event loop calls it; nothing here waits, so a node is chosen and its slot counted in the same breath.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from random import Random

from gateway.backend import Backend
from gateway.classes import Classifier
from gateway.config import Routing
from gateway.costs import Costs
from gateway.decision import Decision
from gateway.explain import explain
from gateway.fleet import Fleet
from gateway.lease import Lease
from gateway.placement import Placement
from gateway.pressure import Pressure
from gateway.queue import Lane, Queue
from gateway.reach import NOWHERE
from gateway.refusals import Refusals
from gateway.shelves import populated, stuck
from gateway.standing import NEVER
from gateway.ticket import Ticket
from wire.errors import Hopeless, QueueFull, WireError

Binding = tuple[Ticket, Lease | WireError]

LOOK_AGAIN = 0.1  # seconds; while anybody waits: a node may be later than predicted, a gate may open
EAGER = 1000  # answers until only one in four teaches costs: by then there is more to save than to learn
SCARCE = 0.25  # seconds for which slots count as scarce after one was missing
QUIET = 0.01  # seconds after which a freed slot of a shared node is nobody's aim any more
NO_TRIED: frozenset[str] = frozenset()


class Scheduler:
    """Takes tickets, gives leases. Times are seconds on the caller's clock, which may jump."""

    def __init__(self, fleet: Fleet, costs: Costs, routing: Routing, rng: Random) -> None:
        self.fleet = fleet
        self.costs = costs
        self.routing = routing
        self._targets = _targets(routing)
        self.queue = Queue(routing.queue_requests, routing.queue_bytes)
        self.classifier = Classifier(fleet, costs, routing)
        self.refusals = Refusals(fleet, self.queue, rng)
        self._placement = Placement(routing, self.queue, rng)
        self.pressures = Pressure(), Pressure()  # of light and of heavy work
        self._version = fleet.version
        self._judged = -1
        self._answers = 0
        self._waited = NEVER  # when a slot was last missing
        self._wake = inf  # when the waiting ones want to be looked at, as last told

    def __repr__(self) -> str:
        return f"<Scheduler {self._placement.policy} {self.queue} {self.fleet}>"

    # ---- options that an operator may turn while it runs -----------------------------------------------------------

    @property
    def policy(self) -> str:
        """The policy in force."""
        return self._placement.policy

    def use(self, policy: str) -> None:
        """Switch to a policy by name; KeyError for an unknown one."""
        self._placement.use(policy)

    def reconfigure(self, routing: Routing) -> None:
        """Take new options; what waits keeps its place."""
        self._placement.use(routing.policy)
        self.routing = self._placement.routing = self.classifier.routing = routing
        self._targets = _targets(routing)
        self.queue.max_requests, self.queue.max_bytes = routing.queue_requests, routing.queue_bytes
        self._version = -1  # walls between pools may have come or gone: lanes are laid anew at the next bind

    def classify(self, ticket: Ticket) -> None:
        """Fill in the predicted cost and the size class, and why."""
        self.classifier.classify(ticket)

    # ---- the queue and the nodes -----------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, now: float) -> Lease | None:
        """A lease at once if a node should take it now, else None: it waits, and `bind` will tell.

        Raises NotFound, TooLarge, NoNode, Hopeless or QueueFull; the last three with a computed Retry-After. A retry
        is the same ticket with its original arrival and the failed node in `tried`.
        """
        self.fleet.refresh_if_due(now)
        routing, seconds = self.routing, ticket.cost_ms * 1e-3
        ticket.key = ticket.arrival + routing.aging * seconds
        ease = routing.aging_at_ease
        ticket.order = ticket.arrival + (ease + (routing.aging - ease) * self.pressures[ticket.heavy].level) * seconds
        try:
            lane = self._lane(ticket)
            if lane.tried or not populated(lane.everywhere):
                self._check_nodes(ticket, lane, now)
            waiting = lane.head()
            # A newcomer goes first only if nobody before it could go by now: a timer may be late.
            if (waiting is None or ticket.order < waiting.order) and not (now >= self._wake and self.queue.count):
                lease = self._try(lane, ticket, now)
                if lease is not None:
                    return lease
            hopeless_at = self._hopeless_at(lane, ticket)
            if hopeless_at <= now:
                raise self.refusals.hopeless(lane, ticket, now)
            if not self.queue.fits(ticket):
                raise self.refusals.full(lane)
        except WireError as error:
            self._refuse(ticket, error)
            raise
        self._waited = now
        self.queue.push(ticket, lane, hopeless_at)
        return None

    def cancel(self, ticket: Ticket) -> bool:
        """Take a waiting ticket out, since its client is gone; false if it did not wait."""
        return self.queue.remove(ticket)

    def bind(self, now: float) -> list[Binding]:
        """Everything that can be decided about the waiting ones now. Call after any change and at `next_wake`."""
        self.fleet.refresh_if_due(now)
        self._wake = inf
        bound: list[Binding] = []
        queue = self.queue
        if not queue.count:
            return bound
        if self._version != self.fleet.version:
            self._lay_lanes_anew(bound)
        if queue.first_hopeless() <= now:
            self._drop_hopeless(bound, now)
        # Who has nobody left must be told when that happens; else there is nothing to do until somebody has a slot.
        told = self._judged == self.fleet.judged
        self._judged = self.fleet.judged
        lead = self.routing.prefetch_lead
        while queue.count and not (told and stuck(self.fleet.peers(), now, lead)) and self._bind_one(bound, now):
            pass
        return bound

    def next_wake(self, now: float) -> float | None:
        """When `bind` should be called though nothing happens; None while nobody waits."""
        if not self.queue.count:
            self._wake = inf
            return None
        lead = self.routing.prefetch_lead
        due, after = inf, now + lead
        for peers in self.fleet.peers():  # those that nobody waits for wake us in vain, but looking them up costs more
            if peers.full:
                due = min(due, peers.next_due(after))
        wake = min(now + LOOK_AGAIN, self.queue.first_hopeless(), self.fleet.next_change, due - lead)
        self._wake = wake = max(now, wake)
        return wake

    def _bind_one(self, bound: list[Binding], now: float) -> bool:
        heads = self.queue.heads()
        many = len(heads) > 2  # models: of one alone, what `bind` asked the whole fleet is enough
        for _, lane, ticket in heads:
            if lane.blocks(ticket, now):
                continue
            if many and not lane.tried and stuck(lane.everywhere, now, self.routing.prefetch_lead):
                continue
            try:
                if lane.tried or not populated(lane.everywhere):
                    self._check_nodes(ticket, lane, now)
                lease = self._try(lane, ticket, now)
            except WireError as error:
                self.queue.remove(ticket)
                self._refuse(ticket, error)
                bound.append((ticket, error))
                return True
            if lease is not None:
                bound.append((ticket, lease))
                return True
        return False

    def _try(self, lane: Lane, ticket: Ticket, now: float) -> Lease | None:
        """Claim a node for the ticket if one should take it now; raises Hopeless if even then it would be late."""
        queued = ticket.lane is not None
        tally = self.queue.heavy if lane.heavy else self.queue.light
        back_ms = tally.work_ms - ticket.cost_ms if queued else tally.work_ms
        if now < self.fleet.crowded_until:
            pick = self._placement.apart(lane, ticket, now)
        else:
            pick = self._placement.place(lane, ticket, now, back_ms)
        if pick is None:
            return None
        backend, starts, _, note = pick
        # What it will take by what was learned; the pick's own finish counts crowding in, to spread requests.
        finish = starts + ticket.cost_ms * backend.per_ms + backend.lag
        if finish > ticket.deadline:
            raise self.refusals.hopeless(lane, ticket, now)
        if queued:
            self.queue.remove(ticket)
        self.pressures[lane.heavy].count(finish - ticket.arrival > self._targets[lane.heavy])
        ticket.attempts += 1
        lease = Lease(self, ticket, now, backend, starts, finish, note)
        if backend.gateways > 1:
            lease.ask = queued or starts > now or ticket.asks_first or self._contested(backend, now)
        if ticket.explain:  # before the claim: candidates as they were
            lease.decision = explain(self._placement.policy, lane.everywhere, lease)
        backend.claim(lease, now)
        if backend.peers is not None:
            backend.peers.settle(backend)
        return lease

    def _contested(self, backend: Backend, now: float) -> bool:
        """Whether others may run for this free slot too: it was freed just now, and slots are scarce."""
        return now - self._waited < SCARCE and now - backend.moved < QUIET

    # ---- endings of leases (gateway/lease.py) ----------------------------------------------------------------------

    def ended(self, lease: Lease, now: float) -> None:
        """Give the slot back."""
        backend = lease.backend
        backend.release(lease, now)
        if backend.peers is not None:
            backend.peers.settle(backend)

    def taught(self, lease: Lease, now: float, service_ms: float | None) -> None:
        """Learn the request's cost and the node's speed from the node's own time."""
        backend, ticket = lease.backend, lease.ticket
        if service_ms is not None and service_ms > 0.0:
            self._answers += 1
            if self._answers < EAGER or self._answers % 4 == 0:
                self._teach(ticket, backend, service_ms)
        backend.answered(lease, now, service_ms)

    def _teach(self, ticket: Ticket, backend: Backend, service_ms: float) -> None:
        model = ticket.model or self.fleet.default_model
        kind, pixels, size = ticket.image_format, ticket.pixels, ticket.body_bytes
        self.costs.judged(model, ticket.cost_ms * backend.per_ms * 1e3, service_ms)
        self.costs.observed(model, kind, pixels, size, service_ms, backend.nominal)

    def denied(self, lease: Lease, now: float) -> None:
        """The node, asked first, has given its slot to another gateway's request."""
        self._waited = now
        lease.ticket.attempts -= 1

    def blamed(self, lease: Lease, now: float, error_code: str) -> None:
        """Count a failure against the node."""
        self.fleet.erred(lease.backend, error_code, now)

    def refused(self, lease: Lease, now: float) -> None:
        """The node is fuller than we knew: leave it alone for about one request's time."""
        self.fleet.refused(lease.backend, now)

    def explained(self, lease: Lease) -> Decision:
        """The short explanation, from what the lease remembers."""
        return explain(self._placement.policy, (), lease)

    # ---- what cannot be served -------------------------------------------------------------------------------------

    def _lane(self, ticket: Ticket) -> Lane:
        reach = self.fleet.reach(ticket.model, ticket.version, ticket.pixels)
        if reach is NOWHERE:
            raise self.refusals.unreachable(ticket)
        spill = self.routing.spill_heavy_to_light if ticket.heavy else self.routing.spill_light_to_heavy
        return self.queue.lane(reach, ticket.heavy, frozenset(ticket.tried) if ticket.tried else NO_TRIED, spill)

    def _check_nodes(self, ticket: Ticket, lane: Lane, now: float) -> None:
        """Raise NoNode when nobody usable may take it."""
        if not any(node.id not in lane.tried for peers in lane.everywhere for node in peers):
            raise self.refusals.no_node(ticket, lane, now)

    def _hopeless_at(self, lane: Lane, ticket: Ticket) -> float:
        """The moment after which even the fastest node would be late."""
        fastest = inf
        for peers in lane.everywhere:
            fastest = min(fastest, peers.fastest)
        return ticket.deadline - ticket.cost_ms * fastest

    def _drop_hopeless(self, bound: list[Binding], now: float) -> None:
        while True:
            ticket = self.queue.pop_hopeless(now)
            if ticket is None:
                return
            lane = ticket.lane
            assert lane is not None
            later = self._hopeless_at(lane, ticket)
            if later > now:  # a faster node has come since
                self.queue.watch(ticket, later)
                continue
            self.queue.remove(ticket)
            error = self.refusals.hopeless(lane, ticket, now)
            self._refuse(ticket, error)
            bound.append((ticket, error))

    def _lay_lanes_anew(self, bound: list[Binding]) -> None:
        """Nodes of another kind came or went: everybody's choice of nodes must be looked up again."""
        self._version = self.fleet.version
        for ticket in self.queue.drain():
            try:
                lane = self._lane(ticket)
                self.queue.push(ticket, lane, self._hopeless_at(lane, ticket))
            except WireError as error:
                self._refuse(ticket, error)
                bound.append((ticket, error))

    def _refuse(self, ticket: Ticket, error: WireError) -> None:
        self.refusals.count(error)
        if isinstance(error, Hopeless | QueueFull):
            self.pressures[ticket.heavy].count(late=True)

    # ---- numbers for page and metrics ------------------------------------------------------------------------------

    def depth(self, heavy: bool) -> int:
        """How many of one size class wait."""
        return (self.queue.heavy if heavy else self.queue.light).count

    def queued_bytes(self) -> int:
        """Bodies of all that wait."""
        return self.queue.bytes

    def queued_ms(self, heavy: bool) -> float:
        """Predicted cost of all that wait of one size class."""
        return (self.queue.heavy if heavy else self.queue.light).work_ms

    def oldest_wait(self, heavy: bool, now: float) -> float:
        """Seconds the longest waiting one of a size class has waited; 0 when nobody does."""
        arrival = self.queue.oldest(heavy)
        return 0.0 if arrival is None else max(0.0, now - arrival)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Refusals by error code since the start."""
        return self.refusals.counts

    def heavy_on_light(self) -> int:
        """Light nodes' slots held by heavy work now."""
        return sum(peers.heavy_held for peers in self.fleet.peers() if not peers.heavy)


def _targets(routing: Routing) -> tuple[float, float]:
    """Seconds in which light and heavy work should be answered, whatever its deadline; infinity where none is set."""
    return (routing.slo_light_ms or inf) * 1e-3, (routing.slo_heavy_ms or inf) * 1e-3
