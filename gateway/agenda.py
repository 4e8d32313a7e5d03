"""What is to be done when: many appointments on one timer (pure)."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import ceil, inf
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Has one appointment at most; `at` is when, infinity for none."""

    at: float


T = TypeVar("T", bound=Timed)


class Agenda(Generic[T]):
    """Appointments in order of time, in seconds. Those within one `grain` are kept together, at its end.

    A loop that wakes once for five pieces of work spends less than one that wakes five times.
    """

    def __init__(self, grain: float) -> None:
        self._grain = grain
        self._heap: list[tuple[float, int, T]] = []
        self._serial = count()  # of two at the same time the older goes first

    def put(self, one: T, at: float) -> None:
        """Make an appointment, in place of the one it has."""
        one.at = at = ceil(at / self._grain) * self._grain
        heappush(self._heap, (at, next(self._serial), one))

    @property
    def next(self) -> float:
        """When to look next, at the latest; it may be for an appointment that has been given up."""
        return self._heap[0][0] if self._heap else inf

    def due(self, now: float) -> list[T]:
        """Those whose time has come; they have no appointment any more."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, _, one = heappop(self._heap)
            if one.at == at:  # otherwise it was put elsewhere, or given up, since
                one.at = inf
                found.append(one)
        return found
