"""What one round says of one server and one kind of images, and what several rounds say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import monotonic

import msgspec

from loadtest.openloop.histogram import Histogram

_TICKS = 100  # of /proc/stat a second, on every Linux there is


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, megabytes, requests a second. Latencies count from when a request was due."""

    server: str
    images: str
    setting: str
    answered: int
    not_answered: int = 0
    bad: int = 0  # of these: wrong, failed or lost; the rest were refused, as a busy machine makes it happen
    per_second: float
    cpu_ms: float  # per request, all processes of the server, at saturation
    client_cpu_ms: float = 0.0  # per request
    half_rate: float = 0.0
    half_cpu_ms: float = 0.0
    half: Histogram = msgspec.field(default_factory=Histogram)
    half_small: Histogram = msgspec.field(default_factory=Histogram)  # of the small ones alone
    rss_mb: float = 0.0
    pss_mb: float = 0.0
    others: float = 0.0  # cores that neither server nor client used, and that were not idle
    faults: dict[str, int] = {}  # reasons of everything not answered well


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over rounds; latencies of all rounds together."""

    server: str
    images: str
    rounds: int
    per_second: float
    best_per_second: float
    cpu_ms: float
    client_cpu_ms: float
    p50: float
    p99: float
    p99_small: float
    rss_mb: float
    pss_mb: float
    others: float
    not_answered: int


def summary(samples: Sequence[Sample]) -> Summary:
    """Of all rounds of one server with one kind of images; there is at least one."""

    def middle(field: str) -> float:
        return float(median(getattr(each, field) for each in samples))

    half, small = Histogram(), Histogram()
    for each in samples:
        half.add(each.half)
        small.add(each.half_small)
    return Summary(
        server=samples[0].server,
        images=samples[0].images,
        rounds=len(samples),
        per_second=middle("per_second"),
        best_per_second=max(each.per_second for each in samples),
        cpu_ms=middle("cpu_ms"),
        client_cpu_ms=middle("client_cpu_ms"),
        p50=half.percentile(50),
        p99=half.percentile(99),
        p99_small=small.percentile(99),
        rss_mb=middle("rss_mb"),
        pss_mb=middle("pss_mb"),
        others=max(each.others for each in samples),
        not_answered=sum(each.not_answered for each in samples),
    )


def cores_busy() -> Callable[[], float]:
    """Begin to watch the machine; the answer tells how many of its cores were busy on average since."""
    start, before = monotonic(), _busy()
    return lambda: (_busy() - before) / (monotonic() - start)


def _busy() -> float:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS  # less idle and waiting for a disk
