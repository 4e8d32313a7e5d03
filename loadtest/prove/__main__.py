"""`make prove`: a real fleet with Consul under open-loop load, and in it nodes die, hang and restart.

Exit code 1 when a request was lost. `--quick` kills a node, wipes Consul and restarts the gateway, in about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from loadtest.images import photos
from loadtest.openloop.mix import SIZE_CLASSES, Mix, weights
from loadtest.prove import account, words
from loadtest.prove.consul import NoConsul
from loadtest.prove.fleet import Fleet
from loadtest.prove.program import DidNotStart
from loadtest.prove.results import ProveRun
from loadtest.prove.stage import Stage
from loadtest.prove.trials import trials
from loadtest.report import prove_page

WIDTH = 170  # of a file or a pipe


def main() -> int:
    """0 when nothing was lost."""
    args = _arguments()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    mix = Mix(photos(), weights(args.mix, SIZE_CLASSES), {"plain": 1.0})
    mix.make_all()
    try:
        run = asyncio.run(_prove(args, mix, console))
    except (NoConsul, DidNotStart) as error:
        console.print(f"make prove: {error}", markup=False, soft_wrap=True)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_bytes(msgspec.json.encode(run))
    prove_page.write(run, args.out)
    words.show(run, console)
    console.print(f"page and plots: {args.out}", soft_wrap=True)
    return 1 if account.lost(run) or run.untoward else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a node killed, Consul wiped, the gateway restarted")
    parser.add_argument("--only", metavar="WORD", default="", help="only trials with this word in their names")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="do them all so often (1)")
    parser.add_argument("--light", type=int, default=2, metavar="N", help="light nodes (2)")
    parser.add_argument("--heavy", type=int, default=1, metavar="N", help="heavy nodes (1)")
    parser.add_argument("--rate", type=float, default=16.0, help="requests a second (16)")
    parser.add_argument("--quiet", type=float, default=0.0, metavar="S", help="before and after each (8; 4 if quick)")
    parser.add_argument("--mix", default="small=97,oversized=3", help="shares of size classes")
    parser.add_argument("--out", type=Path, default=Path("var/prove"), metavar="DIR")
    args = parser.parse_args()
    args.quiet = args.quiet or (4.0 if args.quick else 8.0)
    if not args.rate > 0:
        parser.error("--rate must be above 0")
    if args.light < 1 or args.heavy < 0:
        parser.error("a fleet needs at least one light node")
    if not trials(quick=args.quick, word=args.only):
        parser.error(f"no trial has {args.only!r} in its name")
    return args


async def _prove(args: argparse.Namespace, mix: Mix, console: Console) -> ProveRun:
    console.print("Starting Consul, the nodes and a gateway")
    async with Fleet(args.out / "log", args.light, args.heavy) as fleet:
        chosen = trials(quick=args.quick, word=args.only)
        able = [trial for trial in chosen if trial.needs in fleet.nodes]
        left_out = [f"{trial.name}: there is no {trial.needs}" for trial in chosen if trial not in able]
        stage = Stage(fleet, mix, args.rate, args.quiet, console.print)
        return await stage.run(able * args.repeat, left_out)


if __name__ == "__main__":
    sys.exit(main())
