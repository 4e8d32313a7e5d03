"""How much a node has taken on: slots, what a full node refuses, and the numbers of its load report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from wire.errors import NodeBusy
from wire.load_report import LoadReport

_RATE_SECONDS = 10.0  # rates forget with this time constant


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


class Load:
    """Requests from their admission to their answer."""

    def __init__(self, slots: int, waiting: int, now: float) -> None:
        self.slots = slots
        self._most = slots + waiting
        self.admitted = 0
        self.work_ms = 0.0  # predicted, of what is admitted and understood
        self._answers, self._failures = Rate(now), Rate(now)

    @property
    def queued(self) -> int:
        """Requests above the slots."""
        return max(0, self.admitted - self.slots)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot, or a place behind the slots. Raises NodeBusy when there is none."""
        if self.admitted >= self._most:
            raise NodeBusy(f"all {self.slots} slots are taken and {self.queued} requests wait")
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

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
        """For the header of an answer."""
        return LoadReport.of_node(
            inflight=min(self.admitted, self.slots),
            queued=self.queued,
            capacity=self.slots,
            work_ms=round(self.work_ms, 1),
            rps=self._answers.at(now),
            eps=self._failures.at(now),
        )
