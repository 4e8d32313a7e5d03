"""Whether a run met its goals."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.table import Rows


@dataclass(frozen=True, slots=True)
class Slo:
    """Goals: p95 in milliseconds per size class (0: none), and the share of failures allowed."""

    small_ms: float = 0.0
    oversized_ms: float = 0.0
    failures: float = 0.0


def judge(rows: Rows, slo: Slo) -> list[str]:
    """A sentence per goal missed. A run without a single request has missed them all."""
    if not any(row.requests for row in rows.rows):
        return ["no request was sent"]
    missed = []
    for row in rows.rows:
        goal = slo.small_ms if row.size_class == "small" else slo.oversized_ms
        if goal and row.requests and row.p95 > goal:
            missed.append(f"p95 of {row.size_class} photos is {row.p95:.0f} ms, the goal is {goal:.0f} ms")
        if row.failed_share > slo.failures:
            missed.append(f"{row.failures} of {row.requests} {row.size_class} requests failed")
    return missed
