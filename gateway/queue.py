"""Who is next when a slot frees: bounded heaps of waiting tickets, one per set of nodes that they may choose from.

Between the classes the key is arrival + aging x predicted seconds: small first, and nobody is passed for ever, since
whoever arrives later than that time has a larger key (HAProxy's set-priority-offset; ROUTING 5.6). Within a class it is
the same with less ageing, none while everybody is in time (gateway/pressure.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.peers import Peers
    from gateway.reach import Reach
    from gateway.ticket import Ticket

_Entry = tuple[float, int, "Ticket"]
LaneKey = tuple["Reach", bool, frozenset[str]]


class Lane:
    """Tickets that may go to the same nodes, so that its head speaks for all of them."""

    __slots__ = (
        "away", "blocked", "blocked_at", "blocked_until", "everywhere", "heap", "heavy", "home", "key", "tried",
    )  # fmt: skip

    def __init__(self, reach: Reach, heavy: bool, tried: frozenset[str], spill: bool) -> None:
        self.key: LaneKey = (reach, heavy, tried)
        self.heavy = heavy
        self.tried = tried
        self.home: tuple[Peers, ...] = reach.heavy if heavy else reach.light
        self.away: tuple[Peers, ...] = () if not spill else reach.light if heavy else reach.heavy
        self.everywhere = self.home + self.away
        self.heap: list[_Entry] = []
        # What placement remembers: this head cannot go anywhere before then, unless its own pool changes.
        self.blocked: Ticket | None = None
        self.blocked_until = 0.0
        self.blocked_at = 0

    def block(self, ticket: Ticket, until: float) -> None:
        """Remember that its head must wait until then, or until its own pool changes."""
        self.blocked, self.blocked_until, self.blocked_at = ticket, until, self._changes()

    def blocks(self, ticket: Ticket, now: float) -> bool:
        """Whether nothing that matters to it has happened since it was looked at."""
        return self.blocked is ticket and now < self.blocked_until and self.blocked_at == self._changes()

    def _changes(self) -> int:
        changes = 0
        for peers in self.home:
            changes += peers.changes
        return changes

    def head(self) -> Ticket | None:
        """The next one; None when nobody waits."""
        heap = self.heap
        while heap:
            ticket = heap[0][2]
            if ticket.lane is self and ticket.place == heap[0][1]:
                return ticket
            heappop(heap)  # left before its turn
        return None

    def tickets(self) -> Iterator[Ticket]:
        """All that wait here, in no order."""
        return (ticket for _, place, ticket in self.heap if ticket.lane is self and ticket.place == place)


class Tally:
    """What waits of one size class."""

    __slots__ = ("bytes", "count", "work_ms")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.work_ms = 0.0

    def add(self, ticket: Ticket, sign: int) -> None:
        """Count one in or out."""
        self.count += sign
        self.bytes += sign * ticket.body_bytes
        # Sums of floats drift; an empty queue has no work.
        self.work_ms = self.work_ms + sign * ticket.cost_ms if self.count else 0.0


class Queue:
    """All lanes, their bounds and their deadlines."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.count = 0  # who waits
        self.light = Tally()
        self.heavy = Tally()
        self._lanes: dict[LaneKey, Lane] = {}
        self._timers: list[_Entry] = []  # by the moment when a ticket becomes hopeless
        self._sequence = 0
        self._heads: list[tuple[float, Lane, Ticket]] | None = None

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"<Queue {self.light.count} light {self.heavy.count} heavy>"

    @property
    def bytes(self) -> int:
        """Bodies of all waiting tickets."""
        return self.light.bytes + self.heavy.bytes

    def fits(self, ticket: Ticket) -> bool:
        """Whether one more may wait. A body larger than the whole bound may wait alone."""
        if self.count >= self.max_requests:
            return False
        return not self.count or self.bytes + ticket.body_bytes <= self.max_bytes

    def lane(self, reach: Reach, heavy: bool, tried: frozenset[str], spill: bool) -> Lane:
        """The lane of such tickets; with `spill` they may leave the pool of their class."""
        key = (reach, heavy, tried)
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(reach, heavy, tried, spill)
            if tried:  # retries' lanes are as many as there are accidents: kept only while somebody waits
                return lane
            self._lanes[key] = lane
        return lane

    def push(self, ticket: Ticket, lane: Lane, hopeless_at: float) -> None:
        """Let a ticket wait. Its key and order must be set."""
        if lane.tried:
            self._lanes.setdefault(lane.key, lane)
        self.count += 1
        self._sequence = place = self._sequence + 1
        ticket.lane, ticket.place = lane, place
        heappush(lane.heap, (ticket.order, place, ticket))
        if lane.heap[0][2] is ticket:  # else the heads are who they were
            self._heads = None
        heappush(self._timers, (hopeless_at, place, ticket))
        (self.heavy if lane.heavy else self.light).add(ticket, 1)
        if len(self._timers) > 2 * self.count + 64:
            self._sweep()

    def remove(self, ticket: Ticket) -> bool:
        """Take a ticket out, wherever it stands; false if it does not wait."""
        lane = ticket.lane
        if lane is None:
            return False
        ticket.lane = None
        self.count -= 1
        (self.heavy if lane.heavy else self.light).add(ticket, -1)
        if lane.heap[0][2] is ticket:
            self._heads = None
            if lane.tried and lane.head() is None:
                self._lanes.pop(lane.key, None)
        return True

    def heads(self) -> list[tuple[float, Lane, Ticket]]:
        """The lanes in which somebody waits, by the key of their heads. Not to be changed by the caller."""
        if self._heads is None:
            heads: list[tuple[float, Lane, Ticket]] = []
            for lane in self._lanes.values():
                if lane.heap and (ticket := lane.head()) is not None:
                    heads.append((ticket.key, lane, ticket))
            if len(heads) > 1:
                heads.sort(key=_first)
            self._heads = heads
        return self._heads

    def first_hopeless(self) -> float:
        """When the next ticket becomes hopeless; infinity when nobody waits."""
        timers = self._timers
        while timers:
            at, place, ticket = timers[0]
            if ticket.lane is not None and ticket.place == place:
                return at
            heappop(timers)
        return inf

    def pop_hopeless(self, now: float) -> Ticket | None:
        """A ticket whose moment has come, still waiting; the caller removes it or gives it a later moment."""
        if self.first_hopeless() > now:
            return None
        return heappop(self._timers)[2]

    def watch(self, ticket: Ticket, hopeless_at: float) -> None:
        """Give a waiting ticket another moment."""
        heappush(self._timers, (hopeless_at, ticket.place, ticket))

    def drain(self) -> list[Ticket]:
        """Take everybody out, in order of keys: the lanes are to be laid anew."""
        tickets = [ticket for lane in self._lanes.values() for ticket in lane.tickets()]
        for ticket in tickets:
            ticket.lane = None
        self._lanes.clear()
        self._timers.clear()
        self._heads = None
        self.count = 0
        self.light, self.heavy = Tally(), Tally()
        return sorted(tickets, key=lambda ticket: ticket.order)

    def oldest(self, heavy: bool) -> float | None:
        """The earliest arrival among the waiting of one class."""
        lanes = (lane for lane in self._lanes.values() if lane.heavy is heavy)
        return min((ticket.arrival for lane in lanes for ticket in lane.tickets()), default=None)

    def _sweep(self) -> None:
        """Drop timers of tickets that left, and dead entries of heaps: both would only go as they come to the top."""
        self._timers = [entry for entry in self._timers if _waits(entry)]
        heapify(self._timers)
        for lane in self._lanes.values():
            lane.heap = [entry for entry in lane.heap if _waits(entry)]
            heapify(lane.heap)


def _waits(entry: _Entry) -> bool:
    return entry[2].lane is not None and entry[2].place == entry[1]


def _first(head: tuple[float, Lane, Ticket]) -> float:
    return head[0]
