"""`fleetgate status`: the fleet in one table."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from rich.console import Console

from fleetgate import operators, tables


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("status", help="the fleet in one table")
    operators.add_url(parser)


def run(args: argparse.Namespace) -> int:
    """0 when it can serve, 1 when it is down, 2 when no gateway answers: fit for scripts."""
    try:
        document = operators.get(args.url, "/api/fleet")
    except operators.OperatorError as error:
        print(f"fleetgate status: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        console = Console(highlight=False)
        console.print(tables.fleet(document, console.width))
    return 1 if document["verdict"]["level"] == "down" else 0
