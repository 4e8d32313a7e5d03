"""Two runs side by side: which latencies and counts moved, and by how much. Pure."""

from __future__ import annotations

import msgspec

from loadtest.openloop.histogram import PERCENTILES
from loadtest.openloop.results import LoadRun, Tally
from loadtest.openloop.words import ms
from loadtest.prove.account import Row, rows
from loadtest.prove.results import ProveRun

HEAD = ("", "A", "B", "B over A")
FEW = 100  # answers; a p99 of fewer is the worst one or two
NOISE_MS = 1.0  # less is never a difference


class Figure(msgspec.Struct, frozen=True):
    """One number of both runs. `judged`: whether B may be called worse by it."""

    name: str
    a: float
    b: float
    unit: str = "ms"
    judged: bool = False

    @property
    def ratio(self) -> float:
        """B over A; infinite when only A is 0."""
        return self.b / self.a if self.a else (1.0 if not self.b else float("inf"))

    @property
    def cells(self) -> list[str]:
        """Under HEAD."""
        change = "–" if not self.a else f"{self.ratio - 1:+.0%}"
        return [self.name, self._text(self.a), self._text(self.b), change]

    def worse(self, tolerance: float) -> bool:
        """Whether B is worse by more than this share of A."""
        if not self.judged:
            return False
        noise = NOISE_MS if self.unit == "ms" else 0.0
        return self.b > self.a * (1 + tolerance) + noise

    def _text(self, value: float) -> str:
        return f"{ms(value)} ms" if self.unit == "ms" else f"{value:g} {self.unit}".rstrip()


def of_loads(a: LoadRun, b: LoadRun) -> list[Figure]:
    """Per size class that both have: counts, and latencies from when requests were due."""
    found = [Figure("rate asked for", a.rate, b.rate, "requests/s")]
    for name in a.by_class:
        if name in b.by_class:
            found += _of_class(name, a.by_class[name], b.by_class[name])
    late = a.client.late.percentile(99), b.client.late.percentile(99)
    found.append(Figure("the client's own lateness, p99", *late))
    return found


def _of_class(name: str, a: Tally, b: Tally) -> list[Figure]:
    found = [
        Figure(f"{name}: sent", a.sent, b.sent, ""),
        Figure(f"{name}: not served", round(a.not_served * 100, 2), round(b.not_served * 100, 2), "%", judged=True),
    ]
    for percent in PERCENTILES:
        enough = min(a.from_due.total, b.from_due.total) * (100 - percent) >= FEW
        times = a.from_due.percentile(percent), b.from_due.percentile(percent)
        found.append(Figure(f"{name}: p{percent:g}", *times, judged=enough))
    return found


def of_proofs(a: ProveRun, b: ProveRun) -> list[Figure]:
    """Per trial that both have: what was lost, how long noticing and recovering took, p99 during it."""
    others = {row.name: row for row in rows(b)}
    return [figure for row in rows(a) if row.name in others for figure in _of_trial(row, others[row.name])]


def _of_trial(a: Row, b: Row) -> list[Figure]:
    found = [
        Figure(f"{a.name}: lost", a.lost, b.lost, "", judged=True),
        Figure(f"{a.name}: refused", a.refused, b.refused, ""),
        Figure(f"{a.name}: p99 during", a.during_ms, b.during_ms),
    ]
    for word, one, other in (
        ("noticed", a.noticed_seconds, b.noticed_seconds),
        ("recovered", a.recovered_seconds, b.recovered_seconds),
    ):
        if one is not None and other is not None:
            found.append(Figure(f"{a.name}: {word}", round(one, 1), round(other, 1), "s"))
    return found
