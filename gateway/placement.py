"""Which node the head of a lane gets now, if any: soft pools, sending ahead, and waiting for somebody faster.

ROUTING 4.1. Light work prefers the light pool and takes heavy slots that would idle; heavy work prefers the heavy pool
and takes a bounded share of light nodes when its own pool would miss the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from gateway.backend import Backend
from gateway.balancing import POLICIES, Policy, p2c
from gateway.config import Routing
from gateway.peers import Peers
from gateway.queue import Lane, Queue
from gateway.shelves import next_finish, populated, soonest
from gateway.ticket import Ticket

INFINITY = float("inf")
NOTHING_MS = 1e-9  # queued work that counts as none: sums of floats drift
# The gain, as a share of the time until the answer, for which a node that could start now is passed over. Simulated at
# 80 to 95 %, in bursts, with drifted mixes and with a slow node, a quarter to a half end alike and every wait costs
# decisions; with a slow node, a half makes 0.1 % of oversized work late and never waiting 0.4 %.
WORTH_WAITING = 0.4
LOOK_AGAIN = 0.05  # seconds after which a heavy lane is looked at again though its own pool has not changed

# the node, when it is free, when it will have answered, and why outside the preferred pool if it is
Pick = tuple[Backend, float, float, str]
# by the policy, among nodes of these groups with a slot open, or open within a lead: cost in ms, now, lead, tried
Find = Callable[[Sequence[Peers], float, float, float, frozenset[str]], Pick | None]
IDLE = -1.0  # a lead by which only open slots count


class Placement:
    """The rules, with their options. Claims nothing: that is the scheduler's."""

    def __init__(self, routing: Routing, queue: Queue, rng: Random) -> None:
        self.routing = routing
        self.queue = queue
        self.rng = rng
        self.use(routing.policy)

    def use(self, policy: str) -> None:
        """Switch to a policy by name; KeyError for an unknown one."""
        # The default is answered from the index instead of by looking at every node.
        self._indexed = policy == "earliest_finish"
        self._find: Find = soonest if self._indexed else partial(self._by_policy, POLICIES[policy])
        self.policy = policy

    def place(self, lane: Lane, ticket: Ticket, now: float, back_ms: float) -> Pick | None:
        """A node for the ticket, or None when it should wait. `back_ms` is what waits of its class beside it."""
        pick = self._heavy(lane, ticket, now, back_ms) if lane.heavy else self._light(lane, ticket, now)
        if pick is not None and self._better_wait(lane, ticket, pick, now, back_ms):
            return None
        return pick

    def apart(self, lane: Lane, ticket: Ticket, now: float) -> Pick | None:
        """A node of those that other gateways use too and that have no stream to tell of it.

        Their reports are old, so all gateways would run for the same node: the better of two by chance, within the
        ticket's own pool (ROUTING 4.3). An operator's own policy is left to him.
        """
        if not self._indexed:
            return self.place(lane, ticket, now, 0.0)
        groups = lane.everywhere if lane.tried or not populated(lane.home) else lane.home
        return self._by_policy(p2c, groups, ticket.cost_ms, now, self.routing.prefetch_lead, lane.tried)

    # ---- pools -----------------------------------------------------------------------------------------------------

    def _light(self, lane: Lane, ticket: Ticket, now: float) -> Pick | None:
        cost_ms, lead = ticket.cost_ms, self.routing.prefetch_lead
        home = self._find(lane.home, cost_ms, now, lead, lane.tried)
        if not lane.away:
            return home
        oldest_heavy = self._oldest_heavy_key(lane.away)
        if oldest_heavy is None:
            idle = self._find(lane.away, cost_ms, now, IDLE, lane.tried)
            if idle is not None and (home is None or idle[2] < home[2]):
                return (*idle[:3], "an idle heavy slot finishes sooner")
        if home is not None:
            return home
        lonely = not populated(lane.home)
        if not lonely and (oldest_heavy is None or ticket.key > oldest_heavy):
            return None
        away = self._find(lane.away, cost_ms, now, lead, lane.tried)
        if away is None:
            return None
        return (*away[:3], "the light pool is empty" if lonely else "no light slot is open and it is older")

    def _heavy(self, lane: Lane, ticket: Ticket, now: float, back_ms: float) -> Pick | None:
        cost_ms, lead = ticket.cost_ms, self.routing.prefetch_lead
        home = self._find(lane.home, cost_ms, now, lead, lane.tried)
        lonely = not populated(lane.home)
        if not lane.away or self._full(lane.away, lonely):
            return home
        away = self._find(lane.away, cost_ms, now, lead, lane.tried)
        if away is None or (home is not None and home[2] <= away[2]):
            return home
        if lonely:
            return (*away[:3], "the heavy pool is empty")
        if self._threatened(lane, ticket, now, back_ms, away[2]):
            return (*away[:3], "the heavy pool would miss its target")
        if home is None:
            self._block(lane, ticket, now)
        return home

    def _threatened(self, lane: Lane, ticket: Ticket, now: float, back_ms: float, away: float) -> bool:
        """Whether its own pool would use up too much of the target (ROUTING 4.2, spill_gate), and end after `away`."""
        limit = max(away, ticket.arrival + self.routing.spill_gate * self._target(ticket))
        return self._elsewhere(lane.home, ticket, lane, None, now, back_ms, limit) > limit

    def _block(self, lane: Lane, ticket: Ticket, now: float) -> None:
        """Remember that it must wait until its own pool changes or a node is about to be free."""
        lead = self.routing.prefetch_lead
        until = now + LOOK_AGAIN
        for peers in lane.home:
            until = min(until, peers.next_due(now + lead) - lead)
        lane.block(ticket, until)

    def _full(self, light: Sequence[Peers], empty: bool) -> bool:
        """Whether heavy work holds all the light slots that it may.

        That is a share of them beside its own pool, the rest without one; at least one.
        """
        share = 1.0 - self.routing.spill_cap if empty else self.routing.spill_cap
        if share <= 0.0:
            return True
        held = slots = 0
        for peers in light:
            held += peers.heavy_held
            slots += peers.slots
        return held > 0 and held >= int(share * slots + 0.5)

    def _target(self, ticket: Ticket) -> float:
        """Seconds from its arrival in which heavy work should be answered."""
        budget = ticket.deadline - ticket.arrival
        return min(budget, self.routing.slo_heavy_ms * 1e-3) if self.routing.slo_heavy_ms else budget

    def _oldest_heavy_key(self, heavy: Sequence[Peers]) -> float | None:
        """The key of the first heavy ticket that could use one of these nodes; None when none waits."""
        if self.queue.heavy.count:
            for key, lane, _ in self.queue.heads():
                if lane.heavy:
                    for peers in lane.home:
                        if peers in heavy:
                            return key
        return None

    # ---- earliest finish -------------------------------------------------------------------------------------------

    def _by_policy(
        self,
        policy: Policy,
        groups: Sequence[Peers],
        cost_ms: float,
        now: float,
        lead: float,
        tried: frozenset[str],
    ) -> Pick | None:
        nodes = [node for peers in groups for node in peers if _eligible(node, tried, now, lead)]
        if not nodes:
            return None
        node = policy(nodes, cost_ms, now, self.rng)
        starts = now + node.free_in(now)
        return node, starts, starts + cost_ms * node.next_ms + node.lag, ""

    def _better_wait(self, lane: Lane, ticket: Ticket, pick: Pick, now: float, back_ms: float) -> bool:
        """Whether it should finish sooner by waiting for a node that is busy now."""
        if not self._indexed:
            return False
        groups = lane.home if lane.heavy or self.queue.heavy.count else lane.everywhere
        finish = pick[2]
        cost_ms = ticket.cost_ms
        bound = finish - WORTH_WAITING * (finish - now)
        if finish > ticket.deadline:  # too late there: anybody who makes it in time is worth waiting for
            bound = max(bound, ticket.deadline)
        for peers in groups:
            if now + cost_ms * peers.fastest < bound - 1e-9:
                return self._elsewhere(groups, ticket, lane, pick[0], now, back_ms, bound) < bound
        return False

    def _elsewhere(
        self,
        groups: Sequence[Peers],
        ticket: Ticket,
        lane: Lane,
        but: Backend | None,
        now: float,
        back_ms: float,
        bound: float,
    ) -> float:
        """When it should be finished if it waits for one of these nodes; later than `bound` is as good as never.

        Not before the next of them could have done it, nor, as a fluid, before what waits ahead of it is done.
        """
        if back_ms <= NOTHING_MS:
            return next_finish(groups, ticket.cost_ms, now, lane.tried, bound)
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
        fluid = now + (back_ms + max(0.0, left)) / power + ticket.cost_ms * fastest
        if fluid >= bound:
            return INFINITY
        return max(fluid, next_finish(groups, ticket.cost_ms, now, lane.tried, bound))


def _eligible(node: Backend, tried: frozenset[str], now: float, lead: float) -> bool:
    if node.id in tried:
        return False
    if node.open:
        return True
    held = node.in_flight + len(node.others)
    return lead >= 0.0 and held <= node.capacity and now >= node.prefetch_from and node.free_in(now) <= lead
