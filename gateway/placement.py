"""Which node the head of a lane gets now, if any: soft pools, sending ahead, and waiting for somebody faster.

ROUTING 4.1. Light work prefers the light pool and takes heavy nodes that would idle; heavy work prefers the heavy pool
and takes a bounded share of light nodes when its own pool would miss the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from gateway.backend import Backend
from gateway.balancing import POLICIES, Policy
from gateway.config import Routing
from gateway.peers import Peers
from gateway.queue import Lane, Queue
from gateway.ticket import Ticket

INFINITY = float("inf")
NEVER = 1e-9  # milliseconds of queued work that count as none


@dataclass(slots=True)
class Pick:
    """A node for a ticket, and what was predicted. Times are seconds on the caller's clock."""

    backend: Backend
    starts: float
    finish: float
    crossed: bool = False  # outside the preferred pool
    note: str = ""


class Placement:
    """The rules, with their options. Changes nothing: claiming is the scheduler's."""

    def __init__(self, routing: Routing, queue: Queue, rng: Random) -> None:
        self.routing = routing
        self.queue = queue
        self.rng = rng
        self.heavy_on_light = 0  # leases of heavy work on light nodes, kept by the scheduler
        self.use(routing.policy)

    def use(self, policy: str) -> None:
        """Switch to a policy by name; KeyError for an unknown one."""
        self._policy: Policy = POLICIES[policy]
        # The default is answered from the index instead of by looking at every node.
        self._indexed = policy == "earliest_finish"
        self.policy = policy

    def place(self, lane: Lane, ticket: Ticket, now: float, back_ms: float) -> Pick | None:
        """A node for the ticket, or None when it should wait. `back_ms` is what waits of its class beside it."""
        pick = self._heavy(lane, ticket, now, back_ms) if lane.heavy else self._light(lane, ticket, now)
        if pick is None or self._better_wait(lane, ticket, pick, now, back_ms):
            return None
        return pick

    # ---- pools -----------------------------------------------------------------------------------------------------

    def _light(self, lane: Lane, ticket: Ticket, now: float) -> Pick | None:
        light, heavy = lane.reach.light, lane.reach.heavy
        home = self._soonest(light, ticket, lane, now)
        if not heavy or not self.routing.spill_light_to_heavy:
            return home
        oldest_heavy = self._oldest_heavy_key(heavy)
        if oldest_heavy is None:
            idle = self._soonest(heavy, ticket, lane, now, idle=True)
            if idle is not None and (home is None or idle.finish < home.finish):
                idle.crossed, idle.note = True, "an idle heavy node finishes sooner"
                return idle
        if home is not None:
            return home
        if populated(light) and oldest_heavy is None:
            return None
        if oldest_heavy is not None and ticket.key > oldest_heavy:
            return None
        away = self._soonest(heavy, ticket, lane, now)
        if away is not None:
            away.crossed = True
            away.note = "no light slot is open and it is older" if populated(light) else "the light pool is empty"
        return away

    def _heavy(self, lane: Lane, ticket: Ticket, now: float, back_ms: float) -> Pick | None:
        light, heavy = lane.reach.light, lane.reach.heavy
        home = self._soonest(heavy, ticket, lane, now)
        if not light or not self.routing.spill_heavy_to_light:
            return home
        empty = not populated(heavy)
        if self.heavy_on_light >= self._cap(light, empty):
            return home
        away = self._soonest(light, ticket, lane, now)
        if away is None or (home is not None and home.finish <= away.finish):
            return home
        away.crossed = True
        if empty:
            away.note = "the heavy pool is empty"
            return away
        wait = self._elsewhere(heavy, ticket, None, now, back_ms)
        if away.finish < wait and wait - ticket.arrival > self.routing.spill_gate * self._target(ticket):
            away.note = "the heavy pool would miss its target"
            return away
        return home

    def _cap(self, light: Sequence[Peers], empty: bool) -> int:
        """How many light nodes heavy work may hold: a share beside its own pool, the rest without one; at least one."""
        share = 1.0 - self.routing.spill_cap if empty else self.routing.spill_cap
        if share <= 0.0:
            return 0
        return max(1, int(share * sum(peers.size for peers in light) + 0.5))

    def _target(self, ticket: Ticket) -> float:
        budget = ticket.deadline - ticket.arrival
        return min(budget, self.routing.slo_heavy_ms * 1e-3) if self.routing.slo_heavy_ms else budget

    def _oldest_heavy_key(self, heavy: Sequence[Peers]) -> float | None:
        """The key of the first heavy ticket that could use one of these nodes; None when none waits."""
        if not self.queue.heavy.count:
            return None
        keys = [
            key for key, lane, _ in self.queue.heads() if lane.heavy and not set(heavy).isdisjoint(lane.reach.heavy)
        ]
        return min(keys, default=None)

    # ---- earliest finish -------------------------------------------------------------------------------------------

    def _soonest(
        self, groups: Sequence[Peers], ticket: Ticket, lane: Lane, now: float, idle: bool = False
    ) -> Pick | None:
        if self._indexed:
            return soonest(groups, ticket.cost_ms, now, 0.0 if idle else self.routing.prefetch_lead, lane.tried, idle)
        return self._by_policy(groups, ticket, lane, now, idle)

    def _by_policy(self, groups: Sequence[Peers], ticket: Ticket, lane: Lane, now: float, idle: bool) -> Pick | None:
        nodes = [node for peers in groups for node in peers if self._eligible(node, lane, now, idle)]
        if not nodes:
            return None
        node = self._policy(nodes, ticket.cost_ms, now, self.rng)
        starts = now + node.free_in(now)
        return Pick(node, starts, starts + ticket.cost_ms * node.per_ms + node.lag)

    def _eligible(self, node: Backend, lane: Lane, now: float, idle: bool) -> bool:
        if node.id in lane.tried:
            return False
        if node.open:
            return not idle or not node.in_flight
        ahead = not idle and node.in_flight <= node.capacity and now >= node.prefetch_from
        return ahead and node.free_in(now) <= self.routing.prefetch_lead

    def _better_wait(self, lane: Lane, ticket: Ticket, pick: Pick, now: float, back_ms: float) -> bool:
        """Whether it should finish sooner by waiting for a node that is busy now."""
        if not self._indexed:
            return False
        groups = lane.reach.heavy if lane.heavy else lane.reach.light
        if not lane.heavy and self.routing.spill_light_to_heavy and not self.queue.heavy.count:
            groups += lane.reach.heavy
        fastest = min([peers.fastest for peers in groups], default=INFINITY)
        if now + ticket.cost_ms * fastest >= pick.finish - 1e-9:
            return False
        return self._elsewhere(groups, ticket, pick.backend, now, back_ms) < pick.finish

    def _elsewhere(
        self, groups: Sequence[Peers], ticket: Ticket, but: Backend | None, now: float, back_ms: float
    ) -> float:
        """When it should be finished if it waits for one of these nodes; exactly when nobody waits before it, as a
        fluid otherwise."""
        if back_ms <= NEVER:
            return next_finish(groups, ticket.cost_ms, now, but)
        power = left = 0.0
        fastest = INFINITY
        for peers in groups:
            power += peers.power
            left += peers.left_ms
            fastest = min(fastest, peers.fastest)
        if but is not None and but.peers in groups:
            power -= but.capacity / but.per_ms
            left -= but.left_ms
        if power <= 1e-9:
            return INFINITY
        return now + (back_ms + max(0.0, left)) / power + ticket.cost_ms * fastest


def populated(groups: Sequence[Peers]) -> bool:
    """Whether anybody usable is among them."""
    return any(peers.size for peers in groups)


def soonest(
    groups: Sequence[Peers], cost_ms: float, now: float, lead: float, tried: frozenset[str], idle: bool
) -> Pick | None:
    """The earliest finish among nodes with a slot free, or free within `lead` seconds unless `idle` ones are asked for.

    Looks along each shelf only as far as somebody better can still stand there.
    """
    best, starts = INFINITY, now
    chosen: Backend | None = None
    limit = now + lead
    for peers in groups:
        for entry in peers.open:
            node = entry[3]
            if (idle and node.in_flight) or (tried and node.id in tried):
                continue
            finish = now + cost_ms * node.per_ms + node.lag
            if finish < best:
                best, chosen, starts = finish, node, now
            if not node.lag:
                break  # the rest is slower
        if idle:
            continue
        least = cost_ms * peers.fastest
        for entry in peers.full:
            due = entry[0]
            if due > limit or due + least >= best:
                break
            node = entry[3]
            if now < node.prefetch_from or (tried and node.id in tried):
                continue
            start = now + node.free_in(now)
            finish = start + cost_ms * node.per_ms + node.lag
            if start <= limit and finish < best:
                best, chosen, starts = finish, node, start
    return None if chosen is None else Pick(chosen, starts, best)


def next_finish(groups: Sequence[Peers], cost_ms: float, now: float, but: Backend | None) -> float:
    """The earliest finish on any node but one, however long it is still busy."""
    best = INFINITY
    for peers in groups:
        least = cost_ms * peers.fastest
        for entry in peers.open:
            node = entry[3]
            if node is not but:
                best = min(best, now + cost_ms * node.per_ms + node.lag)
                if not node.lag:
                    break
        for shelf in (peers.full, peers.stuffed):
            for entry in shelf:
                if entry[0] + least >= best:
                    break
                node = entry[3]
                if node is not but:
                    best = min(best, now + node.free_in(now) + cost_ms * node.per_ms + node.lag)
    return best
