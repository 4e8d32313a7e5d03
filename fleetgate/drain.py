"""`fleetgate drain NODE`: take a node out of rotation, or bring it back."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any
from urllib.parse import quote

from fleetgate import operators


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("drain", help="take a node out of rotation, or bring it back")
    operators.add_url(parser)
    parser.add_argument("node", help="its name, as `fleetgate status` shows it")
    parser.add_argument("--reason", required=True, help="stands in the events and in the audit log")
    parser.add_argument("--by", default=os.environ.get("USER", ""), help="who does it (you)")
    parser.add_argument("--token", default="", help=f"the operator token (better: {operators.TOKEN_VARIABLE})")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--undo", action="store_const", dest="action", const="undrain", help="back into rotation")
    how.add_argument("--eject", action="store_const", dest="action", const="eject", help="out, told as a fault")
    how.add_argument("--restore", action="store_const", dest="action", const="restore", help="end an ejection")
    how.add_argument("--weight", type=float, help="only change its weight; 0 takes it out, 1 is normal")


def run(args: argparse.Namespace) -> int:
    """0 when the gateway did it, 1 when it refused."""
    order: dict[str, Any] = {"reason": args.reason, "by": args.by[:60]}
    action = args.action or "drain"
    if args.weight is not None:
        action, order["weight"] = "weight", args.weight
    token = args.token or os.environ.get(operators.TOKEN_VARIABLE, "")
    try:
        event = operators.post(args.url, f"/api/nodes/{quote(args.node, safe='')}/{action}", order, token)
    except operators.OperatorError as error:
        print(f"fleetgate drain: {error}", file=sys.stderr)
        return 1
    print(json.dumps(event) if args.json else operators.plain(f"{event['subject']}: {event['text']}"))
    return 0
