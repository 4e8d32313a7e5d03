"""`python -m loadtest.compare` (`make bench-routing`): the same arrivals and the same fleet behind every proxy.

A few contenders at a time share the machine, each with a fleet and a generator of its own; every run says whether two
cores were enough for it. `--standard` is the short list, `--quick` a smoke test.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from threading import Barrier, BrokenBarrierError

from rich.console import Console

from loadtest.compare import plot, report
from loadtest.compare.contenders import CONTENDERS, HEAVY_MS, LIGHT_MS
from loadtest.compare.figures import figures
from loadtest.compare.outcome import Outcome, floor
from loadtest.compare.ports import Ports
from loadtest.compare.run import Bench, fleet_of, measure, simulated
from loadtest.compare.scenarios import RECORDED, SCENARIOS, SEVERAL, STANDARD, Scenario
from loadtest.compare.traces import recorded, trace
from loadtest.simulate.arrivals import Load
from loadtest.simulate.results import Result, summarise

CONSOLE = Console(stderr=True)


def main() -> int:
    """1 when the machine was too busy to be believed or, with --quick, when anything went unanswered."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that fleets and proxies are stopped, as by Ctrl-C
    scenarios = [SCENARIOS[name] for name in args.scenarios]
    loads = {each.name: trace(each, args.seconds * each.length, args.seed, fleet_of(each).power) for each in scenarios}
    if args.trace is not None:
        scenarios.append(RECORDED)
        loads[RECORDED.name] = recorded(args.trace, RECORDED.utilisation, fleet_of(RECORDED).power)
    outcomes: list[Outcome] = []
    for scenario in scenarios:
        outcomes += _scenario(scenario, loads[scenario.name], args)
    floors = {each.name: floor(loads[each.name], fleet_of(each)) for each in scenarios}
    told = report.Report(
        date=report.today(),
        machine=report.machine(),
        seconds=args.seconds,
        scale=args.scale,
        scenarios=scenarios,
        outcomes=outcomes,
        floors=floors,
        simulated={each.name: _simulated(each, loads[each.name]) for each in scenarios},
        figures=figures(outcomes, floors),
    )
    report.write(told, args.out)
    plot.draw(told, args.out)
    faults = [f"{each.contender}, {each.scenario}: {each.machine.fault}" for each in outcomes if each.machine.fault]
    if args.quick:
        faults += [f"{each.contender} left requests unanswered" for each in outcomes if each.unanswered or each.failed]
    for fault in faults:
        CONSOLE.print(f"not to be believed: {fault}")
    return 1 if faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-routing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two contenders, 80 %% load, a few seconds")
    parser.add_argument("--standard", action="store_true", help=f"only {', '.join(STANDARD)}")
    parser.add_argument("--scenarios", nargs="*", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--seconds", type=float, help="of a run; close races take up to three times as long")
    parser.add_argument("--scale", type=float, default=1.0, help="stretches time, for a slower machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", type=Path, help="a trace written by a gateway, to run besides the scenarios")
    parser.add_argument("--lanes", type=int, default=7, help="contenders at a time")
    parser.add_argument("--out", type=Path, default=Path("var/bench/routing"))
    args = parser.parse_args()
    if args.standard:
        args.scenarios = list(STANDARD)
    if args.quick:
        args.scenarios, args.contenders = ["80"], ["fleetgate", "haproxy leastconn"]
    args.ports = Ports(Random())
    args.seconds = args.seconds or (2.0 if args.quick else 12.0)
    return args


def _scenario(scenario: Scenario, load: Load, args: argparse.Namespace) -> list[Outcome]:
    """All contenders, a few at a time; who met a busy machine gets it alone once more."""
    names = [name for name in args.contenders if scenario.gateways == 1 or name in SEVERAL]
    found: list[Outcome] = []
    for first in range(0, len(names), args.lanes):
        found += _together(names[first : first + args.lanes], scenario, load, args)
    for index, each in enumerate(found):
        if each.machine.fault:
            CONSOLE.print(f"{each.contender} once more: {each.machine.fault}")
            found[index] = _together([each.contender], scenario, load, args)[0]
    return found


def _together(names: Sequence[str], scenario: Scenario, load: Load, args: argparse.Namespace) -> list[Outcome]:
    CONSOLE.print(f"{scenario.title}: {', '.join(names)}")
    try:
        return _wave(names, scenario, load, args)
    except RuntimeError as error:  # a port that was free may be taken by the time it is listened on
        CONSOLE.print(f"once more: {error}")
        return _wave(names, scenario, load, args)


def _wave(names: Sequence[str], scenario: Scenario, load: Load, args: argparse.Namespace) -> list[Outcome]:
    bench = Bench(args.scale, args.ports, Barrier(len(names)), args.seed)
    with ThreadPoolExecutor(len(names)) as pool:
        runs = [pool.submit(measure, CONTENDERS[name], scenario, load, bench) for name in names]
    failed = [error for run in runs if (error := run.exception()) is not None]
    # Those who only waited for the one that failed have less to say.
    for error in sorted(failed, key=lambda each: isinstance(each, BrokenBarrierError)):
        raise error
    return [run.result() for run in runs]


def _simulated(scenario: Scenario, load: Load) -> Result:
    return summarise("fleetgate, simulated", simulated(scenario, load), LIGHT_MS, HEAVY_MS)


if __name__ == "__main__":
    sys.exit(main())
