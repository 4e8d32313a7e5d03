"""What a run says: percentiles, shares within target, refusals, by size class."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from loadtest.simulate.world import Record

WARM_UP = 0.1  # share of the first requests that does not count


class ClassResult(msgspec.Struct, frozen=True, kw_only=True):
    """One size class. Milliseconds; a percentile is infinite when that part was refused."""

    requests: int
    p50: float
    p95: float
    p99: float
    mean: float  # of the answered
    within: float  # share answered within the target
    refused: float  # share


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    name: str
    light: ClassResult
    heavy: ClassResult
    within: float
    refused: float
    crossed: float  # share outside its own pool
    mean: float


def summarise(name: str, records: Sequence[Record], slo_light_ms: float, slo_heavy_ms: float) -> Result:
    """Figures of a run, its first tenth left out."""
    counted = records[int(len(records) * WARM_UP) :]
    light = _of_class([each for each in counted if not each.heavy], slo_light_ms)
    heavy = _of_class([each for each in counted if each.heavy], slo_heavy_ms)
    total = max(1, len(counted))
    answered = [each.seconds for each in counted if np.isfinite(each.finish)]
    return Result(
        name=name,
        light=light,
        heavy=heavy,
        within=(light.within * light.requests + heavy.within * heavy.requests) / total,
        refused=(light.refused * light.requests + heavy.refused * heavy.requests) / total,
        crossed=sum(each.crossed for each in counted) / total,
        mean=float(np.mean(answered)) * 1e3 if answered else 0.0,
    )


def _of_class(records: Sequence[Record], slo_ms: float) -> ClassResult:
    if not records:
        return ClassResult(requests=0, p50=0.0, p95=0.0, p99=0.0, mean=0.0, within=1.0, refused=0.0)
    times = np.array([each.seconds for each in records]) * 1e3
    answered = times[np.isfinite(times)]
    # Interpolating towards infinity gives infinity or nothing; a huge number keeps the order.
    p50, p95, p99 = np.percentile(np.where(np.isfinite(times), times, 1e12), [50, 95, 99])
    return ClassResult(
        requests=len(times),
        p50=_known(p50),
        p95=_known(p95),
        p99=_known(p99),
        mean=float(answered.mean()) if len(answered) else 0.0,
        within=float((times <= slo_ms).mean()),
        refused=float(1.0 - len(answered) / len(times)),
    )


def _known(value: float) -> float:
    return float(value) if value < 1e9 else float("inf")
