"""What one run says: latencies and shares by size class, and whether the machine was fit to measure it.

Milliseconds are divided by the time scale, so that they compare with targets, floor and simulation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from loadtest.compare.contenders import HEAVY_MS, LIGHT_MS
from loadtest.compare.generator import Hit
from loadtest.simulate.arrivals import Load
from loadtest.simulate.machines import FleetPlan
from loadtest.simulate.results import Result, summarise
from loadtest.simulate.world import Record

LATE_MS = 10.0  # the generator's or a node's 99th percentile beyond this: the machine was too busy
IDLE = 0.15  # of all cores, at least


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """How the machine fared. CPU in cores."""

    idle: float = 1.0  # share of all cores, over the whole machine
    generator_late_ms: float = 0.0  # 99th percentile
    node_late_ms: float = 0.0  # 99th percentile
    proxy_cpu: float = 0.0
    nodes_cpu: float = 0.0
    generator_cpu: float = 0.0

    @property
    def fault(self) -> str:
        """Why the run is not to be believed; "" when it is."""
        if self.idle < IDLE:
            return f"only {self.idle:.0%} of the CPU was idle"
        if self.generator_late_ms > LATE_MS:
            return f"the generator was {self.generator_late_ms:.0f} ms late"
        if self.node_late_ms > LATE_MS:
            return f"the nodes were {self.node_late_ms:.0f} ms late"
        return ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One contender in one scenario. Shares are of all counted requests."""

    contender: str
    scenario: str
    result: Result
    shed: float = 0.0  # refused with 503 or 504
    told_when: float = 0.0  # share of the 503s that say when to come again
    failed: float = 0.0  # any other answer
    statuses: dict[int, int] = {}  # of all requests; 0 is no answer
    unanswered: float = 0.0  # none, as long as patience lasted
    utilisation: float = 0.0  # of the fleet, by work that nodes did within the arrivals' time
    machine: Machine = Machine()


def judge(name: str, scenario: str, load: Load, hits: Sequence[Hit], scale: float) -> Result:
    """Percentiles and shares; whatever has no good answer missed its target."""
    records = [
        Record(
            arrival=arrival,
            heavy=bool(arrival.heavy),
            finish=arrival.at + hit.seconds / scale if hit.status == 200 else float("inf"),
            node=hit.told.node,
            crossed=hit.status == 200 and hit.told.node.startswith("light" if arrival.heavy else "heavy"),
        )
        for arrival, hit in zip(load.arrivals, hits, strict=True)
    ]
    return summarise(f"{name}, {scenario}", records, LIGHT_MS, HEAVY_MS)


def outcome(
    name: str, scenario: str, load: Load, hits: Sequence[Hit], plan: FleetPlan, scale: float, machine: Machine
) -> Outcome:
    """All that a run says."""
    counted = hits[len(hits) // 10 :]
    total = max(1, len(counted))
    busy = [hit for hit in counted if hit.status == 503]
    good = [hit for hit in hits if hit.status == 200]
    worked_ms = sum(hit.told.service_ms * _speed(plan, hit.told.node) for hit in good)
    late = [hit.late * 1e3 for hit in hits]
    return Outcome(
        contender=name,
        scenario=scenario,
        result=judge(name, scenario, load, hits, scale),
        shed=sum(hit.status in (503, 504) for hit in counted) / total,
        told_when=sum(hit.retry_after for hit in busy) / len(busy) if busy else 1.0,
        failed=sum(hit.status not in (0, 200, 503, 504) for hit in counted) / total,
        statuses=dict(sorted(Counter(hit.status for hit in hits).items())),
        unanswered=sum(hit.status == 0 for hit in counted) / total,
        utilisation=worked_ms / scale / 1e3 / max(1e-9, load.seconds * plan.power),
        machine=msgspec.structs.replace(
            machine,
            generator_late_ms=_p99(late),
            node_late_ms=_p99([hit.told.late_ms for hit in good]),
        ),
    )


def floor(load: Load, plan: FleetPlan) -> Result:
    """Every request alone on the fastest node of its own pool, over an endless network."""
    light = max(each.pace for each in plan.machines if each.pool == "light")
    heavy = max(each.pace for each in plan.machines if each.pool == "heavy")
    records = [
        Record(each, bool(each.heavy), each.at + each.actual_ms * 1e-3 / (heavy if each.heavy else light))
        for each in load.arrivals
    ]
    return summarise("zero-load floor", records, LIGHT_MS, HEAVY_MS)


def _speed(plan: FleetPlan, node: str) -> float:
    return next((each.pace for each in plan.machines if each.name == node), 1.0)


def _p99(values: Sequence[float]) -> float:
    return float(np.percentile(values, 99)) if values else 0.0
