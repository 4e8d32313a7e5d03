"""Percentiles from logarithmic buckets are those of the sorted times, within 2 %."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.openloop.histogram import GROWTH, Histogram

TIMES = st.lists(st.floats(min_value=0.001, max_value=3.6e6), min_size=1, max_size=200)


def of(times: list[float]) -> Histogram:
    histogram = Histogram()
    for ms in times:
        histogram.record(ms)
    return histogram


@given(TIMES, st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_never_too_low_and_at_most_two_percent_too_high(times: list[float], percent: float) -> None:
    rank = max(1, -(-len(times) * percent // 100))
    true = sorted(times)[int(rank) - 1]
    assert true * 0.999 <= of(times).percentile(percent) <= true * GROWTH * 1.001


@given(TIMES, TIMES)
def test_two_added_are_as_one(a: list[float], b: list[float]) -> None:
    both = of(a)
    both.add(of(b))
    together = of(a + b)
    assert (both.counts, both.total, both.max_ms) == (together.counts, together.total, together.max_ms)
    assert both.mean_ms == pytest.approx(sum(a + b) / len(a + b))


def test_nothing_counted_has_no_times_and_zero_is_counted() -> None:
    assert Histogram().percentile(99) == Histogram().mean_ms == 0.0
    assert of([0.0, -0.1, 5.0]).percentile(50) <= 0.0011


def test_it_survives_being_kept() -> None:
    histogram = of([1.0, 20.0, 300.0])
    assert msgspec.json.decode(msgspec.json.encode(histogram), type=Histogram) == histogram
