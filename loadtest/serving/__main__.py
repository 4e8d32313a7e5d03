"""`python -m loadtest.serving` (`make bench-node`): one model behind our node, behind four other servers, and bare.

All servers stand side by side and are measured in turn, so that a machine that is slower for a while is so for all;
who is not measured is frozen. Rounds, and parts run one after another, add up in results.json; `--fresh` forgets them.
All decode as the node does; the two fastest others are measured once more as their documentation decodes.
`--quick` is a smoke test of the node and the bare loop.
"""

from __future__ import annotations

import argparse
import signal
import sys
from itertools import product
from pathlib import Path

from rich.console import Console

from loadtest.serving import bare, report
from loadtest.serving.contenders import CONTENDERS, PEERS, TWICE
from loadtest.serving.measure import Bench
from loadtest.serving.photos import SHARES
from loadtest.serving.sample import Sample
from repository import packaged

NAMES = (*bare.NAMES, *CONTENDERS)
CONSOLE = Console(stderr=True)


def main() -> int:
    """1 when any request was answered wrongly, failed or was lost, 2 when the peers' environment is missing."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped, as by Ctrl-C
    if not PEERS.is_dir() and set(args.servers) - {*bare.NAMES, "fleetgate"}:
        CONSOLE.print("the other servers live in .venv-peers: `make bench-node` makes it")
        return 2
    artefact = packaged.ensure(args.models, CONSOLE.print).resolve()
    samples: list[Sample] = []
    with Bench(args.servers, artefact) as bench:
        for number, kind, name in product(range(args.rounds), args.images, args.servers):
            CONSOLE.print(f"round {number + 1}, {kind}: {name}")
            samples.append(bench.sample(name, kind, args.seconds))
    told = report.merged(args.out, samples, fresh=args.fresh)
    report.write(told, args.out)
    return 1 if any(sample.bad for sample in samples) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-node", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the node and the bare loop, small photos, a second")
    parser.add_argument("--servers", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument(
        "--plain-pillow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="of the named servers also those that decode as their documentation does",
    )
    parser.add_argument("--images", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="at saturation; twice that at half load")
    parser.add_argument("--fresh", action="store_true", help="forget the results of earlier parts")
    parser.add_argument("--models", type=Path, default=Path("var/models"), help="where the packaged model is kept")
    parser.add_argument("--out", type=Path, default=Path("var/bench/serving"))
    args = parser.parse_args()
    if not args.plain_pillow:
        args.servers = [name for name in args.servers if name not in TWICE]
    if args.quick:
        args.servers, args.images, args.rounds, args.seconds = [bare.NAMES[0], "fleetgate"], ["small"], 1, 1.0
    return args


if __name__ == "__main__":
    sys.exit(main())
