"""How much a node has taken on: slots, what a full node refuses, and the numbers of its load report.

Models share it fairly, as they share decoders and runners (node/fairness.py). Half of the places behind the slots are
split among the models that are served: where one model floods the node, another still finds its part of them free. The
slots are anybody's, as gateways count on all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from time import monotonic

from wire.errors import NodeBusy
from wire.load_report import LoadReport

_RATE_SECONDS = 10.0  # rates and means forget with this time constant

_NOTHING_MS = 1e-6  # what sums of floating numbers leave over


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
        self._waiting = waiting
        self._runners = runners
        self.admitted = 0
        self._admitted: Counter[str] = Counter()  # by model
        self._work_ms: dict[str, float] = {}  # by model; predicted, of what is admitted and understood
        self._used = Mean(now)
        self._answers, self._failures = Rate(now), Rate(now)

    @property
    def work_ms(self) -> float:
        """Predicted work not yet done, of all models."""
        return sum(self._work_ms.values())

    def wait_ms(self, model: str) -> float:
        """How long it will take to do what a model has here; beside it each other one has as much done, if it has so
        much."""
        mine = self._work_ms.get(model, 0.0)
        return sum(min(mine, each) for each in self._work_ms.values()) / self._runners

    @property
    def queued(self) -> int:
        """Requests above the slots."""
        return max(0, self.admitted - self.slots)

    @contextmanager
    def slot(self, model: str, served: Collection[str], now: Callable[[], float] = monotonic) -> Iterator[None]:
        """Hold a slot, or a place behind the slots. `served`: all models. Raises NodeBusy when there is none."""
        if self.admitted >= self._most(model, served):
            raise NodeBusy(f"all {self.slots} slots are taken and {self.queued} requests wait")
        self._admit(model, 1, now())
        try:
            yield
        finally:
            self._admit(model, -1, now())

    def _most(self, model: str, served: Collection[str]) -> int:
        """How many may be here for one of `model` to come in; what the others have not used of theirs is kept free."""
        most = self.slots + self._waiting
        if len(served) < 2:
            return most
        each_has = math.ceil(self._waiting / 2 / len(served))
        kept = sum(max(0, each_has - self._admitted[other]) for other in served if other != model)
        return max(self.slots, most - kept)

    def _admit(self, model: str, change: int, now: float) -> None:
        self.admitted += change
        self._admitted[model] += change
        if not self._admitted[model]:
            del self._admitted[model]
        self._used.become(self.admitted / self.slots, now)

    @contextmanager
    def work(self, model: str, predicted_ms: float) -> Iterator[None]:
        """Owe `predicted_ms` until it is done or given up."""
        self._owe(model, predicted_ms)
        try:
            yield
        finally:
            self._owe(model, -predicted_ms)

    def _owe(self, model: str, ms: float) -> None:
        owed = self._work_ms.pop(model, 0.0) + ms
        if owed > _NOTHING_MS:
            self._work_ms[model] = owed

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
