"""A run's numbers by size class, as a table that a gate can judge."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from loadtest.openloop.results import Tally
from loadtest.openloop.verdict import Kind

CLASSES = ("small", "oversized")
WIDTH = 120  # of a file or a pipe


@dataclass(frozen=True, slots=True)
class Row:
    """One size class; times are milliseconds. `times` counts requests per time, as Locust rounds them."""

    size_class: str
    requests: int
    failures: int
    per_second: float
    p50: float
    p95: float
    p99: float
    times: Mapping[float, int] = field(default_factory=dict)

    @property
    def failed_share(self) -> float:
        """0..1."""
        return self.failures / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Rows:
    """All size classes of a run."""

    rows: Sequence[Row]

    def show(self, missed: Sequence[str]) -> None:
        """Print the table, and below it what missed its goal."""
        table = Table(
            "size class",
            *(Column(name, justify="right") for name in ("requests", "failed", "req/s", "p50 ms", "p95 ms", "p99 ms")),
        )
        for row in self.rows:
            times = (f"{value:.0f}" for value in (row.p50, row.p95, row.p99))
            table.add_row(row.size_class, str(row.requests), str(row.failures), f"{row.per_second:.1f}", *times)
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(table)
        for line in missed:
            console.print(f"[red]missed:[/red] {line}")

    def since(self, before: Rows | None) -> Rows:
        """What came after `before` was taken; its rates are those of the whole run."""
        if before is None:
            return self
        return Rows([_difference(now, then) for now, then in zip(self.rows, before.rows, strict=True)])


def size_classes(stats: Any) -> Rows:
    """Sum Locust's entries over the protocols; entries are named `<protocol> <size class>`."""
    return Rows([_row(name, [e for e in stats.entries.values() if e.name.endswith(" " + name)]) for name in CLASSES])


def of_tallies(tallies: Mapping[str, Tally], seconds: float) -> Rows:
    """The same of an open loop's run; whatever was not answered well is a failure."""
    rows = []
    for name, tally in tallies.items():
        p50, p95, p99 = (tally.from_due.percentile(percent) for percent in (50, 95, 99))
        not_answered = tally.sent - tally.of(Kind.ANSWERED)
        rows.append(Row(name, tally.sent, not_answered, tally.sent / seconds, p50, p95, p99))
    return Rows(rows)


def percentile(counts: Mapping[float, int], share: float) -> float:
    """The smallest time that at least `share` of the requests do not exceed; 0 when there are none."""
    left = share * sum(counts.values())
    for time in sorted(counts):
        left -= counts[time]
        if left <= 1e-9:
            return time
    return 0.0


def _row(name: str, entries: Sequence[Any]) -> Row:
    times: dict[float, int] = {}
    for entry in entries:
        for time, count in entry.response_times.items():
            times[time] = times.get(time, 0) + count
    requests, failures = sum(entry.num_requests for entry in entries), sum(entry.num_failures for entry in entries)
    return _of_times(name, requests, failures, sum(entry.total_rps for entry in entries), times)


def _difference(now: Row, then: Row) -> Row:
    times = {time: count - then.times.get(time, 0) for time, count in now.times.items()}
    return _of_times(now.size_class, now.requests - then.requests, now.failures - then.failures, now.per_second, times)


def _of_times(name: str, requests: int, failures: int, per_second: float, times: Mapping[float, int]) -> Row:
    p50, p95, p99 = (percentile(times, share) for share in (0.5, 0.95, 0.99))
    return Row(name, requests, failures, per_second, p50, p95, p99, times)
