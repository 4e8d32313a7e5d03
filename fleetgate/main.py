"""`fleetgate COMMAND`: finds the command's module and hands over."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

# Only the chosen command is imported: `fleetgate gateway` must start without TensorFlow or a plotting library.
COMMANDS = {
    "up": "start a whole fleet on this machine",
    "gateway": "run one gateway",
    "node": "run one node",
    "freeze": "freeze a model into an artefact",
    "status": "the fleet in one table",
    "top": "the fleet, live",
    "drain": "take a node out of rotation, or bring it back",
    "explain": "why a request went where it went",
    "load": "send requests at set rates, measure as users feel it",
    "report": "show or compare results of load runs and proofs",
    "simulate": "what if: other policy, threshold, fleet",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit codes: 0 well, 1 failed, 2 called wrongly."""
    args = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="fleetgate", description="One endpoint in front of a fleet of warm nodes.")
    parser.add_argument("--version", action="version", version=f"fleetgate {version('fleetgate')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    if args and args[0] in COMMANDS:
        try:
            module = importlib.import_module(f"fleetgate.{args[0]}")
        except ModuleNotFoundError as error:
            print(f"fleetgate {args[0]} needs {error.name}, which is not installed; see README.md", file=sys.stderr)
            return 1
        module.add_parser(subparsers)
        return int(module.run(parser.parse_args(args)))
    for name, summary in COMMANDS.items():
        subparsers.add_parser(name, help=summary)
    parser.parse_args(args)
    return 2


if __name__ == "__main__":
    sys.exit(main())
