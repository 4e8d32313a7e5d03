"""`fleetgate top`: the fleet, live."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from fleetgate import operators, tables


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("top", help="the fleet, live")
    operators.add_url(parser)
    parser.add_argument("--seconds", type=float, default=1.0, help="between two looks (1)")
    parser.add_argument("--looks", type=int, default=0, metavar="N", help="stop after so many (0: until Ctrl-C)")


def run(args: argparse.Namespace) -> int:
    """Until Ctrl-C; a gateway that goes away is waited for. With --json, one document a line."""
    console = Console(highlight=False)
    try:
        if args.json:
            for document in _looks(args):
                print(json.dumps(document if isinstance(document, dict) else {"error": document}), flush=True)
        else:
            with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
                for document in _looks(args):
                    live.update(_screen(document, console), refresh=True)
    except KeyboardInterrupt:
        pass
    return 0


def _looks(args: argparse.Namespace) -> Iterator[dict[str, Any] | str]:
    """Documents, or why there is none."""
    number = 0
    while True:
        try:
            yield operators.get(args.url, "/api/fleet")
        except operators.OperatorError as error:
            yield str(error)
        number += 1
        if number == args.looks:
            return
        time.sleep(max(args.seconds, 0.1))


def _screen(document: dict[str, Any] | str, console: Console) -> RenderableType:
    if isinstance(document, str):
        return Panel(Text(f"? {document}"), border_style="yellow")
    around = 12  # lines of the verdict, numbers and pools
    return tables.fleet(document, console.width, rows=max(5, console.height - around))
