"""Nodes that can take the same requests, sorted so that nobody has to look at all of them.

Peers share pool, models and pixel limit; they differ in speed and load only. Open ones stand by speed, full ones by
the time when they should be free, so that the earliest finish is found near the front of either shelf.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from math import exp, inf, log
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.backend import Backend

# Steps of 5 % of speed for a factor of two: what a node loses when its slots are nearly all taken (Backend.next_ms).
HALF = 20.0 * log(2.0)

# speed step or time due, then chance, then the serial as the last word
Entry = tuple[float, float, int, "Backend"]


class Peers:
    """The usable nodes of one kind on three shelves: open, full (may be sent one ahead), stuffed (was sent one)."""

    __slots__ = (
        "_steps",
        "changes",
        "fastest",
        "full",
        "heavy",
        "heavy_held",
        "left_ms",
        "max_pixels",
        "models",
        "open",
        "power",
        "rng",
        "size",
        "slots",
        "stuffed",
    )

    def __init__(self, heavy: bool, models: tuple[str, ...], max_pixels: int, rng: Random) -> None:
        self.heavy = heavy
        self.models = models
        self.max_pixels = max_pixels
        self.rng = rng
        self.open: list[Entry] = []
        self.full: list[Entry] = []
        self.stuffed: list[Entry] = []
        self.size = 0
        self.slots = 0
        self.heavy_held = 0  # heavy work that they hold
        self.changes = 0  # grows whenever anybody's load or place changes
        self.power = 0.0  # milliseconds of cost done per second, all slots together
        self.left_ms = 0.0  # cost not yet done, running leases counted by half: the mean of what is left of them
        self.fastest = inf  # seconds per millisecond of cost on the fastest node, within 5 %
        self._steps: dict[int, int] = {}  # how many nodes on each step of speed

    def __repr__(self) -> str:
        pool = "heavy" if self.heavy else "light"
        return f"<Peers {pool} {len(self.open)} open {len(self.full)} full {len(self.stuffed)} stuffed>"

    def __iter__(self) -> Iterator[Backend]:
        for shelf in (self.open, self.full, self.stuffed):
            for entry in shelf:
                yield entry[3]

    def welcome(self, backend: Backend) -> None:
        """Give a node its place."""
        backend.peers = self
        self.size += 1
        self.slots += backend.capacity
        self._count(backend)
        self._shelve(backend)

    def dismiss(self, backend: Backend) -> None:
        """Take a node's place away; what it holds goes on."""
        self._unshelve(backend)
        self.changes += 1
        self.size -= 1
        self.slots -= backend.capacity
        self._discount(backend)
        backend.peers = None

    def settle(self, backend: Backend) -> None:
        """Put a node where its present load and speed belong; call after every change of either."""
        shelf, entry = backend.shelf, backend.entry
        assert shelf is not None
        assert entry is not None
        del shelf[bisect_left(shelf, entry)]  # as _unshelve, on the hottest of all paths
        left = backend.left_ms
        self.left_ms += left - backend.counted_ms
        backend.counted_ms = left
        held = backend.heavy_held
        if held != backend.counted_heavy:
            self.heavy_held += held - backend.counted_heavy
            backend.counted_heavy = held
        if backend.counted_step != backend.step:
            self._discount(backend)
            self._count(backend)
        self._shelve(backend)

    def next_due(self, after: float) -> float:
        """When the next full node should be free, later than some time; infinity when none."""
        full = self.full
        if full and full[0][0] > after:
            return full[0][0]
        at = bisect_left(full, (after, inf))  # behind all that are due at that very time
        return full[at][0] if at < len(full) else inf

    def _shelve(self, backend: Backend) -> None:
        in_flight, capacity = backend.in_flight, backend.capacity
        held = in_flight + backend.foreign
        tie = self.rng.random()
        if held < capacity:
            shelf = self.open
            step = backend.step + HALF * held / capacity if held else backend.step
            entry: Entry = (step, tie, backend.serial, backend)
        else:
            shelf = self.full if in_flight + len(backend.others) <= capacity else self.stuffed
            entry = (backend.due(), tie, backend.serial, backend)
        insort(shelf, entry)
        backend.shelf, backend.entry = shelf, entry
        self.changes += 1

    def _unshelve(self, backend: Backend) -> None:
        shelf, entry = backend.shelf, backend.entry
        assert shelf is not None
        assert entry is not None
        del shelf[bisect_left(shelf, entry)]
        backend.shelf = backend.entry = None

    def _count(self, backend: Backend) -> None:
        step = backend.counted_step = backend.step
        self._steps[step] = self._steps.get(step, 0) + 1
        self.fastest = self._find_fastest()
        backend.counted_power = backend.capacity / backend.per_ms
        self.power += backend.counted_power
        backend.counted_ms = backend.left_ms
        self.left_ms += backend.left_ms
        backend.counted_heavy = backend.heavy_held
        self.heavy_held += backend.heavy_held

    def _discount(self, backend: Backend) -> None:
        step = backend.counted_step
        self._steps[step] -= 1
        if not self._steps[step]:
            del self._steps[step]
        self.power -= backend.counted_power
        self.left_ms -= backend.counted_ms
        self.heavy_held -= backend.counted_heavy
        self.fastest = self._find_fastest()
        if not self._steps:
            self.power = self.left_ms = 0.0  # sums of floats drift; an empty set has none

    def _find_fastest(self) -> float:
        """Of many nodes not the very fastest: the luckiest estimate of a hundred is luck, not speed."""
        passed = 0
        for step in sorted(self._steps):
            passed += self._steps[step]
            if passed * 50 >= self.size:
                return 1e-3 * exp(step / 20)
        return inf
