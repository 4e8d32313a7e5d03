"""A run is judged by its slowest classes and its failures, never by nothing."""

from __future__ import annotations

from loadtest.gate import Slo, judge
from loadtest.table import Row, Rows, percentile


def rows(**changes: float) -> Rows:
    small = {"requests": 100, "failures": 0, "per_second": 10.0, "p50": 20.0, "p95": 40.0, "p99": 90.0, **changes}
    return Rows([Row("small", **small), Row("oversized", 5, 0, 0.5, 300.0, 800.0, 900.0)])  # type: ignore[arg-type]


def test_a_run_within_its_goals_misses_nothing() -> None:
    assert judge(rows(), Slo(small_ms=40, oversized_ms=800)) == []


def test_a_slow_class_and_a_failure_are_each_named() -> None:
    missed = judge(rows(p95=41.0, failures=3), Slo(small_ms=40))
    assert missed == ["p95 of small photos is 41 ms, the goal is 40 ms", "3 of 100 small requests failed"]


def test_a_run_that_sent_nothing_has_missed() -> None:
    assert judge(Rows([]), Slo()) == ["no request was sent"]


def test_percentiles_count_requests_not_buckets() -> None:
    assert percentile({10.0: 98, 500.0: 1, 900.0: 1}, 0.5) == 10.0
    assert percentile({10.0: 98, 500.0: 1, 900.0: 1}, 0.99) == 500.0
    assert percentile({10.0: 98, 500.0: 1, 900.0: 1}, 1.0) == 900.0
    assert percentile({}, 0.99) == 0.0
