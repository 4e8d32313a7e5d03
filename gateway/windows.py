"""Counts and latencies of the last seconds: one slot a second, closed by a steady tick. Pure.

Latencies live in logarithmic buckets, four to a doubling: a quantile is right within 9 percent, adding one is a
list index, and sixty seconds of two classes fit in 80 KiB whatever the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log2

import msgspec

FLOOR_MS = 0.25
PER_DOUBLING = 4
BUCKETS = 84  # up to 0.25 ms x 2^21: eight minutes
# int(log2(ms) * PER_DOUBLING + OFFSET) is the bucket of a duration at or above the floor
OFFSET = -int(log2(FLOOR_MS) * PER_DOUBLING)


def bucket(ms: float) -> int:
    """The bucket of a duration in milliseconds; anything below the floor is in the first."""
    return min(int(log2(ms) * PER_DOUBLING + OFFSET), BUCKETS - 1) if ms > FLOOR_MS else 0


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The duration in milliseconds below which `share` of the counted ones lie; None when nothing was counted."""
    total = sum(counts)
    if not total:
        return None
    wanted, below = share * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            inside = (wanted - below) / count
            return float(FLOOR_MS * 2 ** ((index + inside) / PER_DOUBLING))
        below += count
    return float(FLOOR_MS * 2 ** (BUCKETS / PER_DOUBLING))


def _buckets() -> list[int]:
    return [0] * BUCKETS


class Slot(msgspec.Struct):
    """What finished during about one second. Worker processes send theirs to their parent."""

    seconds: float = 0.0  # how long it was open: set when it closes
    ok: int = 0
    errors: int = 0
    refused: int = 0
    client: int = 0
    gone: int = 0
    light_spilled: int = 0  # of the good ones, answered by the other pool
    heavy_spilled: int = 0
    light: list[int] = msgspec.field(default_factory=_buckets)
    heavy: list[int] = msgspec.field(default_factory=_buckets)
    dots: int = 0

    def add(self, other: Slot) -> None:
        """What another process finished in the same time."""
        self.ok += other.ok
        self.errors += other.errors
        self.refused += other.refused
        self.client += other.client
        self.gone += other.gone
        self.light_spilled += other.light_spilled
        self.heavy_spilled += other.heavy_spilled
        self.light = [mine + theirs for mine, theirs in zip(self.light, other.light, strict=True)]
        self.heavy = [mine + theirs for mine, theirs in zip(self.heavy, other.heavy, strict=True)]


class Quantiles(msgspec.Struct, frozen=True):
    """Latency of the answered requests of one size class, in milliseconds."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of recent time in numbers. Rates are per second, over inference requests only."""

    seconds: float
    requests: int
    per_second: float
    ok: int
    errors: int  # our fault: a node or the gateway failed
    refused: int  # turned away in time: queue full, hopeless, no node, draining, quota
    client: int  # the client's mistake: 4xx
    gone: int  # the client hung up
    light_spilled: int  # light ones that heavy nodes answered
    heavy_spilled: int
    light: Quantiles
    heavy: Quantiles

    @property
    def error_share(self) -> float:
        """Errors among all requests, 0..1."""
        return self.errors / self.requests if self.requests else 0.0


def _quantiles(columns: Iterable[Sequence[int]]) -> Quantiles:
    counts = [sum(column) for column in zip(*columns, strict=True)]
    p50, p95, p99 = (_tenths(quantile(counts, share)) for share in (0.50, 0.95, 0.99))
    return Quantiles(count=sum(counts), p50=p50, p95=p95, p99=p99)


def _tenths(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def summarise(slots: Sequence[Slot]) -> Window:
    """Several slots as one window."""
    seconds = sum(slot.seconds for slot in slots)
    ok, errors, refused, client, gone = (
        sum(getattr(slot, name) for slot in slots) for name in ("ok", "errors", "refused", "client", "gone")
    )
    requests = ok + errors + refused + client + gone
    return Window(
        seconds=round(seconds, 1),
        requests=requests,
        per_second=round(requests / seconds, 2) if seconds else 0.0,
        ok=ok,
        errors=errors,
        refused=refused,
        client=client,
        gone=gone,
        light_spilled=sum(slot.light_spilled for slot in slots),
        heavy_spilled=sum(slot.heavy_spilled for slot in slots),
        light=_quantiles(slot.light for slot in slots),
        heavy=_quantiles(slot.heavy for slot in slots),
    )
