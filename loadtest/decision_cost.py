"""What one routing decision costs in microseconds, by fleet size: `python -m loadtest.decision_cost`.

Times the gateway's real scheduler inside a simulated fleet: classify and submit, the end of the lease, and the binds
that both need. No sockets, no timers; the garbage collector is off. Loads: 50 %, 80 %, 95 % and 130 % of capacity.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from itertools import pairwise
from time import perf_counter_ns

import msgspec
from rich.console import Console
from rich.table import Table

from gateway.config import Routing
from gateway.lease import Lease
from gateway.scheduler import Binding
from gateway.ticket import Ticket
from loadtest.simulate.arrivals import Load
from loadtest.simulate.machines import FleetPlan, Machine
from loadtest.simulate.synthetic import Mix, draw
from loadtest.simulate.world import Options, World

SIZES = (3, 18, 200, 1000)
LOADS = (0.5, 0.8, 0.95, 1.3)
LIGHT_SPEEDS = (0.8, 1.0, 1.2)
TRIM = 0.02  # share of the slowest calls left out: they were interrupted by somebody else's work


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds per request."""

    nodes: int
    utilisation: float
    submit: float
    end: float
    bind: float

    @property
    def total(self) -> float:
        """The whole decision."""
        return self.submit + self.end + self.bind


class TimedWorld(World):
    """A simulation that takes the time of its calls into the gateway's code, in nanoseconds."""

    def __init__(self, load: Load, plan: FleetPlan, options: Options) -> None:
        super().__init__(load, plan, options)
        self.submits: list[int] = []
        self.ends: list[int] = []
        self.binds: list[int] = []

    def submit(self, ticket: Ticket, now: float) -> Lease | None:
        """Timed together with the prediction of its cost, which the trace then overrules."""
        cost_ms, heavy = ticket.cost_ms, ticket.heavy
        started = perf_counter_ns()
        self.scheduler.classify(ticket)
        classified = perf_counter_ns()
        ticket.cost_ms, ticket.heavy = cost_ms, heavy
        resumed = perf_counter_ns()
        try:
            return self.scheduler.submit(ticket, now)
        finally:
            self.submits.append(perf_counter_ns() - resumed + classified - started)

    def end(self, lease: Lease, now: float, service_ms: float) -> None:
        """Timed."""
        started = perf_counter_ns()
        lease.succeeded(now, service_ms)
        self.ends.append(perf_counter_ns() - started)

    def bind(self, now: float) -> list[Binding]:
        """Timed."""
        started = perf_counter_ns()
        bound = self.scheduler.bind(now)
        self.binds.append(perf_counter_ns() - started)
        return bound


def fleet(nodes: int) -> FleetPlan:
    """A third heavy at speed 2, the rest light in three speeds."""
    heavy = max(1, nodes // 3)
    machines = [Machine(name=f"heavy-{n}", pool="heavy", speed=2.0) for n in range(heavy)]
    machines += [Machine(name=f"light-{n}", pool="light", speed=LIGHT_SPEEDS[n % 3]) for n in range(nodes - heavy)]
    return FleetPlan(machines=tuple(machines))


def best(nodes: int, utilisation: float, policy: str, requests: int, repeat: int) -> Cost:
    """The cheapest of some runs: what disturbs a run only makes it dearer."""
    runs = [measure(nodes, utilisation, policy, requests) for _ in range(repeat)]
    return min(runs, key=lambda cost: cost.total)


def measure(nodes: int, utilisation: float, policy: str, requests: int) -> Cost:
    """One run. Warm-up is not left out: a fleet at rest is part of life."""
    plan = fleet(nodes)
    load = draw(Mix(requests=requests, utilisation=utilisation), plan.power)
    routing = Routing(policy=policy, queue_requests=1_000_000, queue_bytes=1 << 50)
    world = TimedWorld(load, plan, Options(routing=routing))
    gc.collect()
    gc.disable()
    try:
        world.run()
    finally:
        gc.enable()
    clock = _clock_ns()
    submit, end, bind = (
        max(0.0, _total(calls) - len(calls) * clock) / 1e3 / requests
        for calls in (world.submits, world.ends, world.binds)
    )
    return Cost(nodes=nodes, utilisation=utilisation, submit=submit, end=end, bind=bind)


def _clock_ns() -> float:
    """What it costs to look at the clock, to be taken off."""
    looks = [perf_counter_ns() for _ in range(2001)]
    return float(sorted(after - before for before, after in pairwise(looks))[1000])


def _total(calls: list[int]) -> float:
    """The sum of all calls, the slowest few counted as the slowest of the rest."""
    if not calls:
        return 0.0
    ordered = sorted(calls)
    limit = ordered[int(len(ordered) * (1 - TRIM))]
    return float(sum(min(call, limit) for call in calls))


def table(costs: Sequence[Cost], policy: str) -> Table:
    """For people."""
    shown = Table(title=f"microseconds per request, {policy}")
    for name in ("nodes", "load", "classify + submit", "end of lease", "bind", "all"):
        shown.add_column(name, justify="right")
    for cost in costs:
        figures = (cost.submit, cost.end, cost.bind, cost.total)
        shown.add_row(str(cost.nodes), f"{cost.utilisation:.0%}", *(f"{figure:.1f}" for figure in figures))
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--loads", type=float, nargs="+", default=list(LOADS))
    parser.add_argument("--policy", default="earliest_finish")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which the cheapest counts")
    parser.add_argument("--json", action="store_true", help="figures for machines")
    args = parser.parse_args(argv)
    costs = [best(nodes, load, args.policy, args.requests, args.repeat) for nodes in args.nodes for load in args.loads]
    if args.json:
        print(msgspec.json.encode(costs).decode())
    else:
        Console().print(table(costs, args.policy))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
