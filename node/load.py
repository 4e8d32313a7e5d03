"""How much a node has taken on: slots, what a full node refuses, and the numbers of its load report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from wire.errors import NodeBusy
from wire.load_report import LoadReport

_RATE_SECONDS = 10.0  # rates and means forget with this time constant


class Rate:
    """Events per second, the older the less they count. `now` in seconds."""

    __slots__ = ("_at", "_per_second")

    def __init__(self, now: float) -> None:
        self._at = now
        self._per_second = 0.0

    def count(self, now: float) -> None:
        """One event."""
        self._per_second = self.at(now) + 1 / _RATE_SECONDS
        self._at = now

    def at(self, now: float) -> float:
        """The rate now."""
        return self._per_second * math.exp(min(0.0, self._at - now) / _RATE_SECONDS)


class Mean:
    """A quantity's mean over time, the longer ago the less it counts. `now` in seconds."""

    __slots__ = ("_at", "_mean", "_value")

    def __init__(self, now: float) -> None:
        self._at = now
        self._mean = self._value = 0.0

    def become(self, value: float, now: float) -> None:
        """It changes now."""
        self._mean, self._at, self._value = self.at(now), max(self._at, now), value

    def at(self, now: float) -> float:
        """The mean until now."""
        kept = math.exp(min(0.0, self._at - now) / _RATE_SECONDS)
        return self._mean * kept + self._value * (1.0 - kept)


class Load:
    """Requests from their admission to their answer."""

    def __init__(self, slots: int, waiting: int, runners: int, now: float) -> None:
        self.slots = slots
        self._most = slots + waiting
        self._runners = runners
        self.admitted = 0
        self.work_ms = 0.0  # predicted, of what is admitted and understood
        self._used = Mean(now)
        self._answers, self._failures = Rate(now), Rate(now)

    @property
    def wait_ms(self) -> float:
        """How long it will take to do what is here."""
        return self.work_ms / self._runners

    @property
    def queued(self) -> int:
        """Requests above the slots."""
        return max(0, self.admitted - self.slots)

    @contextmanager
    def slot(self, now: Callable[[], float] = monotonic) -> Iterator[None]:
        """Hold a slot, or a place behind the slots. Raises NodeBusy when there is none."""
        if self.admitted >= self._most:
            raise NodeBusy(f"all {self.slots} slots are taken and {self.queued} requests wait")
        self._admit(1, now())
        try:
            yield
        finally:
            self._admit(-1, now())

    def _admit(self, change: int, now: float) -> None:
        self.admitted += change
        self._used.become(self.admitted / self.slots, now)

    @contextmanager
    def work(self, predicted_ms: float) -> Iterator[None]:
        """Owe `predicted_ms` until it is done or given up."""
        self.work_ms += predicted_ms
        try:
            yield
        finally:
            self.work_ms = max(0.0, self.work_ms - predicted_ms)

    def answered(self, now: float, failed: bool) -> None:
        """One inference call ended; `failed` when it was our fault."""
        self._answers.count(now)
        if failed:
            self._failures.count(now)

    def report(self, now: float) -> LoadReport:
        """For the header of an answer. Utilisation is a mean over time: this very moment always has one request more,
        its own, and weighted round robin (Envoy's) would take that for load."""
        return LoadReport.of_node(
            inflight=min(self.admitted, self.slots),
            queued=self.queued,
            capacity=self.slots,
            work_ms=round(self.work_ms, 1),
            utilisation=self._used.at(now),
            rps=self._answers.at(now),
            eps=self._failures.at(now),
        )
