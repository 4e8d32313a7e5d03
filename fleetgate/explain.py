"""`fleetgate explain ID`: why a request went where it went."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fleetgate import operators


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("explain", help="why a request went where it went")
    operators.add_url(parser)
    parser.add_argument("request_id", metavar="ID", help="the X-Request-Id of its answer")


def run(args: argparse.Namespace) -> int:
    """0 when the gateway remembers the request, 1 when not."""
    try:
        found = operators.get(args.url, "/api/decisions", request_id=args.request_id)
    except operators.OperatorError as error:
        print(f"fleetgate explain: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if args.json else "\n".join(map(operators.plain, found["explanation"])))
    return 0
