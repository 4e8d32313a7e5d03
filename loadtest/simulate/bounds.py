"""What no policy can beat: the yardsticks beside every table."""

from __future__ import annotations

from heapq import heappop, heappush

import msgspec

from gateway.config import Routing
from loadtest.simulate.arrivals import Load
from loadtest.simulate.machines import FleetPlan
from loadtest.simulate.results import Result, summarise
from loadtest.simulate.world import Options, simulate

IDLE = 0.02  # utilisation at which nobody waits


def floor(load: Load, plan: FleetPlan, routing: Routing) -> Result:
    """The same requests so far apart that nobody waits, each in its own pool: the floor of every percentile."""
    stretch = max(1.0, load.utilisation(plan.power) / IDLE)
    apart = [msgspec.structs.replace(each, at=each.at * stretch) for each in load.arrivals]
    walls = msgspec.structs.replace(
        routing, policy="earliest_finish", spill_light_to_heavy=False, spill_heavy_to_light=False
    )
    options = Options(routing=walls, shed=False)
    records = simulate(Load(name=load.name, arrivals=apart), plan, options)
    return summarise("floor: nobody waits", records, routing.slo_light_ms, routing.slo_heavy_ms)


def mean_bound_ms(load: Load, plan: FleetPlan) -> float:
    """No policy has a smaller mean response time than this.

    The larger of: one preemptive server of the fleet's whole speed serving the shortest remaining work first, and
    every request alone on the fastest node.
    """
    fastest = max(machine.pace for machine in plan.machines)
    alone = sum(each.actual_ms for each in load.arrivals) / len(load.arrivals) / fastest
    return max(alone, _pooled(load, sum(machine.pace * machine.slots for machine in plan.machines)))


def _pooled(load: Load, power: float) -> float:
    """Mean response time in ms of shortest-remaining-work-first on one server."""
    waiting: list[tuple[float, float]] = []  # seconds left at full power, arrival
    now = total = 0.0
    arrivals = [(each.at, each.actual_ms * 1e-3 / power) for each in load.arrivals]
    for index, (at, seconds) in enumerate(arrivals):
        now = max(now, at) if not waiting else at
        heappush(waiting, (seconds, at))
        until = arrivals[index + 1][0] if index + 1 < len(arrivals) else float("inf")
        while waiting:
            left, arrived = waiting[0]
            if now + left > until:
                # The first only shrinks, so it stays the first.
                waiting[0] = (left - (until - now), arrived)
                break
            heappop(waiting)
            now += left
            total += now - arrived
    return total / len(arrivals) * 1e3
