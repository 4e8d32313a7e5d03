"""Locust's numbers by size class, as a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Column, Table

CLASSES = ("small", "oversized")


@dataclass(frozen=True, slots=True)
class Row:
    """One size class; times are milliseconds."""

    size_class: str
    requests: int
    failures: int
    per_second: float
    p50: float
    p95: float
    p99: float

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
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(table)
        for line in missed:
            console.print(f"[red]missed:[/red] {line}")


def size_classes(stats: Any) -> Rows:
    """Sum Locust's entries over the protocols; entries are named `<protocol> <size class>`."""
    return Rows([_row(name, [e for e in stats.entries.values() if e.name.endswith(" " + name)]) for name in CLASSES])


def percentile(counts: Mapping[float, int], share: float) -> float:
    """The smallest time that at least `share` of the requests do not exceed; 0 when there are none."""
    left = share * sum(counts.values())
    for time in sorted(counts):
        left -= counts[time]
        if left <= 1e-9:
            return time
    return 0.0


def _row(name: str, entries: Sequence[Any]) -> Row:
    counts: dict[float, int] = {}
    for entry in entries:
        for time, count in entry.response_times.items():
            counts[time] = counts.get(time, 0) + count
    return Row(
        name,
        sum(entry.num_requests for entry in entries),
        sum(entry.num_failures for entry in entries),
        sum(entry.total_rps for entry in entries),
        *(percentile(counts, share) for share in (0.5, 0.95, 0.99)),
    )
