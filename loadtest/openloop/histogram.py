"""Latencies in logarithmic buckets: constant memory, 2 % precision from a microsecond to hours, can be added. Pure."""

from __future__ import annotations

from math import log

import msgspec

GROWTH = 1.02  # each bucket's upper edge over its lower: the largest relative error of a percentile
_SCALE = 1.0 / log(GROWTH)
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Histogram(msgspec.Struct, omit_defaults=True):
    """Counts per bucket; bucket n holds GROWTH**n to GROWTH**(n+1) microseconds. Times are milliseconds."""

    counts: dict[int, int] = msgspec.field(default_factory=dict)
    total: int = 0
    sum_ms: float = 0.0
    max_ms: float = 0.0

    def record(self, ms: float) -> None:
        """Count one time."""
        bucket = int(log(ms * 1e3) * _SCALE) if ms > 1e-3 else 0
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1
        self.sum_ms += ms
        self.max_ms = max(self.max_ms, ms)

    def add(self, other: Histogram) -> None:
        """Count all that `other` has counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total
        self.sum_ms += other.sum_ms
        self.max_ms = max(self.max_ms, other.max_ms)

    def percentile(self, percent: float) -> float:
        """A time that `percent` of all do not exceed, at most 2 % too high; 0 when nothing was counted."""
        left = percent / 100 * self.total
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 1e-9:
                return min(self.max_ms, GROWTH ** (bucket + 1) / 1e3)
        return self.max_ms

    @property
    def mean_ms(self) -> float:
        """Exact."""
        return self.sum_ms / self.total if self.total else 0.0

    def __repr__(self) -> str:
        return f"<Histogram {self.total} p50 {self.percentile(50):.1f} p99 {self.percentile(99):.1f} ms>"
