"""`fleetgate simulate`: what if the policy, the threshold, the load or the fleet were other? No server is started."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from loadtest.simulate.bounds import floor, mean_bound_ms
from loadtest.simulate.planning import Search
from loadtest.simulate.questions import (
    BadQuestion,
    BadTrace,
    Case,
    add_arguments,
    cases,
    conditions,
    gateways,
    kinds,
    loads,
)
from loadtest.simulate.report import Row, plans, plot, table
from loadtest.simulate.results import Result, summarise
from loadtest.simulate.several import simulate

EXAMPLES = """\
examples:
  fleetgate simulate --policy all --utilisation 0.8
  fleetgate simulate --light 8 --heavy 2 --oversized 0.1 --plot drift.png
  fleetgate simulate --slow heavy:3 --bursty
  fleetgate simulate --trace var/trace.jsonl --threshold 4000000 8000000 16000000
  fleetgate simulate --trace var/trace.jsonl --faster 2 --light 6 --heavy 2
  fleetgate simulate --gateways 4 --latency 1
  fleetgate simulate --rate 200 --smallest 0.99
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `simulate` and its options."""
    parser = subparsers.add_parser(
        "simulate",
        help="what if: other policy, threshold, fleet",
        description="Run the gateway's real routing code under a simulated clock, on a made-up or a recorded load.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    asked = parser.add_argument_group("what is wanted")
    asked.add_argument(
        "--smallest", type=float, metavar="SHARE", help="the smallest fleets that keep this share in target"
    )
    asked.add_argument("--most", type=int, default=40, help="nodes of one kind that --smallest tries")
    asked.add_argument("--plot", type=Path, help="a PNG or SVG file")
    asked.add_argument("--json", action="store_true", help="figures for machines")


def run(args: argparse.Namespace) -> int:
    """0 well, 1 the question has no answer, 2 it makes no sense."""
    try:
        if args.smallest is not None:
            return _smallest(args)
        return _compare(args)
    except (BadQuestion, BadTrace) as error:
        print(f"fleetgate simulate: {error}", file=sys.stderr)
        return 2


def _compare(args: argparse.Namespace) -> int:
    console = Console(stderr=True)
    asked = list(cases(args))
    rows: list[Row] = []
    with console.status("simulating") as status:
        for number, case in enumerate(asked):
            status.update(f"{number + 1} of {len(asked)}: {case.load.name}, {case.options.name}")
            if number == 0 or asked[number - 1].load is not case.load:
                rows.append(_row(case, floor(case.load, case.plan, case.options.routing)))
            rows.append(_row(case, _result(case)))
    if args.plot is not None:
        plot(rows, args.plot)
    if args.json:
        print(msgspec.json.encode(rows).decode())
        return 0
    out = Console(width=None if sys.stdout.isatty() else 160)
    title = f"{len(asked[0].plan.machines)} nodes, {len(asked[0].load.arrivals)} requests"
    held = conditions(args)
    out.print(table(rows, f"{title}; {held}" if held else title))
    for case in {case.load.name: case for case in asked}.values():
        bound, best = mean_bound_ms(case.load, case.plan), _best_mean(rows, case.load.name)
        out.print(f"{case.load.name}: mean of the best {best:.0f} ms; no policy can be below {bound:.0f} ms")
    return 0


def _smallest(args: argparse.Namespace) -> int:
    console = Console(stderr=True)
    load, _ = next(loads(args))
    light, heavy = kinds(args)
    search = Search(load, next(gateways(args)), light, heavy, args.smallest, args.most)
    with console.status("simulating") as status:
        answers = search.run(status.update)
    if args.json:
        print(msgspec.json.encode(answers).decode())
    elif answers:
        Console().print(plans(answers, args.smallest))
    if not answers:
        print(f"fleetgate simulate: no fleet of up to {args.most} nodes of a kind does it", file=sys.stderr)
        return 1
    return 0


def _result(case: Case) -> Result:
    routing = case.options.routing
    records = simulate(case.load, case.plan, case.options)
    return summarise(case.options.name, records, routing.slo_light_ms, routing.slo_heavy_ms)


def _row(case: Case, result: Result) -> Row:
    return Row(load=case.load.name, utilisation=case.utilisation, result=result)


def _best_mean(rows: list[Row], load: str) -> float:
    return min(row.result.mean for row in rows if row.load == load and not row.result.name.startswith("floor"))
