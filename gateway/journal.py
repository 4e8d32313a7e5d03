"""What happened lately, in bounded memory: rates, latencies, errors, decisions, dots, events. Pure.

One request costs a few list and deque operations; everything that needs arithmetic waits until somebody reads.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from math import log2
from typing import Generic, TypeVar

import msgspec

from gateway.outcome import Outcome
from gateway.windows import BUCKETS, FLOOR_MS, OFFSET, PER_DOUBLING, Quantiles, Slot, Window, summarise

INFERENCE = frozenset({"predict", "infer", "tfs"})
REFUSALS = frozenset({"queue-full", "hopeless", "no-node", "node-busy", "draining", "quota-exceeded"})

SLOTS = 60
HISTORY_TICKS = 5  # ticks in one row of history
HISTORY_ROWS = 180  # 15 minutes
DOTS_PER_SLOT = 8  # of one second: so the map shows the last minute, not the last burst
NODE_SPANS = 6  # of 10 ticks each: the share of traffic is over the last minute
NODE_SPAN_TICKS = 10

T = TypeVar("T")


class Ring(Generic[T]):
    """The last few of something, and how many there ever were, so that a reader can ask what is new."""

    __slots__ = ("items", "total")

    def __init__(self, size: int) -> None:
        self.items: deque[T] = deque(maxlen=size)
        self.total = 0

    def append(self, item: T) -> None:
        """Remember one, forget the oldest."""
        self.items.append(item)
        self.total += 1

    def since(self, start: int, end: int | None = None) -> list[T]:
        """What came after the ring had counted `start` and before it had counted `end`, as far as it is still here."""
        oldest = self.total - len(self.items)
        last = self.total if end is None else end
        return list(islice(self.items, max(start - oldest, 0), max(last - oldest, 0)))

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


class Dot(msgspec.Struct, frozen=True, array_like=True):
    """One answered request on the map of size against latency."""

    pixels: int
    ms: float
    size_class: str
    pool: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something an operator should be able to look up: a node's change, the registry's, or an action."""

    at: float  # wall clock
    kind: str  # joined, left, healthy, ejected, …, version, registry, action
    subject: str  # node, model or the routing
    text: str
    reason: str = ""
    by: str = ""


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """What cannot be counted from outcomes: sampled once a tick."""

    busy: int  # slots
    capacity: int
    queued: int
    usable: int


class HistoryRow(msgspec.Struct, frozen=True, array_like=True):
    """Five seconds of the past. Rates per second, latencies in milliseconds, gauges as they stood at the end."""

    at: float
    light_per_second: float
    heavy_per_second: float
    errors_per_second: float
    refused_per_second: float
    light_p50: float | None
    light_p99: float | None
    heavy_p50: float | None
    heavy_p99: float | None
    busy: int
    capacity: int
    queued: int
    usable: int


def kind_of(outcome: Outcome) -> str:
    """ok, client (its mistake), gone (it hung up), refused (turned away in time) or error (our fault)."""
    if outcome.error == "client-gone" or outcome.status == 499:
        return "gone"
    if outcome.error in REFUSALS or outcome.status == 429:
        return "refused"
    if outcome.status >= 500:
        return "error"
    return "client" if outcome.status >= 400 or outcome.error else "ok"


def latency_ms(outcome: Outcome) -> float:
    """How long it took once the body was here: a client's slow upload says nothing about the fleet."""
    return max(outcome.total_ms - outcome.recv_ms, 0.0)


class Journal:
    """An observer of outcomes. `tick` is called about once a second by whoever owns a clock."""

    def __init__(self) -> None:
        self.errors: Ring[Outcome] = Ring(50)
        self.refusals: Ring[Outcome] = Ring(50)
        self.mistakes: Ring[Outcome] = Ring(50)
        self.decisions: Ring[Outcome] = Ring(200)
        # What somebody is likely to ask about, kept apart so that a burst of good requests cannot flush it.
        self.notable: Ring[Outcome] = Ring(200)
        self.light_dots: Ring[Dot] = Ring(400)
        self.heavy_dots: Ring[Dot] = Ring(400)
        self.events: Ring[Event] = Ring(500)
        self.history: Ring[HistoryRow] = Ring(HISTORY_ROWS)
        self.last_errors: dict[str, Outcome] = {}  # by node
        self._slots: deque[Slot] = deque(maxlen=SLOTS)
        self._slot = Slot()
        self._nodes: dict[str, int] = {}
        self._spans: deque[dict[str, int]] = deque([self._nodes], maxlen=NODE_SPANS)
        self._ticks = 0

    def finished(self, outcome: Outcome) -> None:
        """Take note of one request; probes and metadata calls would drown the numbers and are left out of them."""
        if outcome.route not in INFERENCE:
            if outcome.status >= 400 and outcome.route != "health":
                self._list(outcome, kind_of(outcome))
            return
        slot = self._slot
        if outcome.status >= 400 or outcome.error:
            self._failed(outcome, slot)
            return
        slot.ok += 1
        ms = outcome.total_ms - outcome.recv_ms
        # windows.bucket, written out: this runs for every request
        index = min(int(log2(ms) * PER_DOUBLING + OFFSET), BUCKETS - 1) if ms > FLOOR_MS else 0
        heavy = outcome.size_class == "heavy"
        (slot.heavy if heavy else slot.light)[index] += 1
        if outcome.pool != outcome.size_class:
            slot.heavy_spilled += heavy
            slot.light_spilled += not heavy
        self._nodes[outcome.node] = self._nodes.get(outcome.node, 0) + 1
        self.decisions.append(outcome)
        if outcome.attempts > 1 or outcome.explain:
            self.notable.append(outcome)
        if heavy or slot.dots < DOTS_PER_SLOT:
            self._dot(outcome, ms, slot, heavy)

    def _dot(self, outcome: Outcome, ms: float, slot: Slot, heavy: bool) -> None:
        if outcome.pixels:
            dot = Dot(outcome.pixels, round(ms, 1), outcome.size_class, outcome.pool)
            (self.heavy_dots if heavy else self.light_dots).append(dot)
            slot.dots += not heavy

    def _failed(self, outcome: Outcome, slot: Slot) -> None:
        kind = kind_of(outcome)
        if kind == "error":
            slot.errors += 1
        elif kind == "refused":
            slot.refused += 1
        elif kind == "gone":
            slot.gone += 1
        else:
            slot.client += 1
        self._list(outcome, kind)
        if outcome.attempts:
            self.decisions.append(outcome)
        if kind == "error" or outcome.attempts:
            self.notable.append(outcome)
        if outcome.node:
            self._nodes[outcome.node] = self._nodes.get(outcome.node, 0) + 1
            if kind == "error":
                self.last_errors[outcome.node] = outcome

    def _list(self, outcome: Outcome, kind: str) -> None:
        lists = {"error": self.errors, "refused": self.refusals, "client": self.mistakes}
        if kind in lists:
            lists[kind].append(outcome)

    def tick(self, at: float, seconds: float, gauges: Gauges) -> None:
        """Close the current slot, which was open for `seconds`; `at` is the wall clock."""
        self._slot.seconds = seconds
        self._slots.append(self._slot)
        self._slot = Slot()
        self._ticks += 1
        if self._ticks % NODE_SPAN_TICKS == 0:
            self._nodes = {}
            self._spans.append(self._nodes)
        if self._ticks % HISTORY_TICKS == 0:
            self.history.append(_row(at, self.window(HISTORY_TICKS), gauges))

    def closed_since(self, ticks: int) -> tuple[int, list[Slot]]:
        """How many slots were ever closed, and those that were after `ticks` had been, as far as they are kept."""
        fresh = min(self._ticks - ticks, len(self._slots))
        return self._ticks, list(self._slots)[-fresh:] if fresh > 0 else []

    def add(self, slot: Slot) -> None:
        """Count in what another process finished lately."""
        self._slot.add(slot)

    def window(self, ticks: int) -> Window:
        """The last so many closed slots, about a second each."""
        return summarise(list(self._slots)[-ticks:])

    def by_node(self) -> Counter[str]:
        """Requests that each node had during the last minute."""
        return sum((Counter(span) for span in self._spans), Counter())

    def keep(self, nodes: frozenset[str]) -> None:
        """Forget what is kept by node for nodes that left."""
        for node in self.last_errors.keys() - nodes:
            del self.last_errors[node]

    def find(self, request_id: str) -> Outcome | None:
        """The newest remembered request of that id."""
        for ring in (self.decisions, self.notable, self.errors, self.refusals, self.mistakes):
            for outcome in reversed(ring.items):
                if outcome.request_id == request_id:
                    return outcome
        return None


def _per_second(quantiles: Quantiles, window: Window) -> float:
    return round(quantiles.count / window.seconds, 2) if window.seconds else 0.0


def _row(at: float, window: Window, gauges: Gauges) -> HistoryRow:
    seconds = window.seconds or 1.0
    return HistoryRow(
        at=round(at, 1),
        light_per_second=_per_second(window.light, window),
        heavy_per_second=_per_second(window.heavy, window),
        errors_per_second=round(window.errors / seconds, 2),
        refused_per_second=round(window.refused / seconds, 2),
        light_p50=window.light.p50,
        light_p99=window.light.p99,
        heavy_p50=window.heavy.p50,
        heavy_p99=window.heavy.p99,
        busy=gauges.busy,
        capacity=gauges.capacity,
        queued=gauges.queued,
        usable=gauges.usable,
    )
