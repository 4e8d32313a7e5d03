"""`fleetgate report A [B]`: show one result of a load run or a proof, or compare two."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from loadtest.openloop import words as load_words
from loadtest.openloop.results import LoadRun
from loadtest.prove import words as prove_words
from loadtest.prove.results import ProveRun
from loadtest.report import difference, difference_page, load_page, plots, prove_page
from loadtest.report.difference import Figure
from loadtest.report.saved import NotAResult, read

WIDTH = 170  # of a file or a pipe


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser(
        "report",
        help="show or compare results of load runs and proofs",
        description="Show one result of `fleetgate load --json` or `make prove` (results.json), or compare two.",
    )
    parser.add_argument("a", type=Path, metavar="A")
    parser.add_argument("b", type=Path, metavar="B", nargs="?")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as a page")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="SHARE",
        help="exit code 1 when B is worse by more than this share of A, such as 0.2",
    )


def run(args: argparse.Namespace) -> int:
    """0 well, 1 B is worse than tolerated, 2 called wrongly."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    try:
        a = read(args.a)
        if args.b is None:
            _show(a, args.html, console)
            return 0
        figures, svg, made = _compare(a, read(args.b))
    except NotAResult as error:
        print(f"fleetgate report: {error}", file=sys.stderr)
        return 2
    worse = [figure for figure in figures if args.tolerance is not None and figure.worse(args.tolerance)]
    console.print(_table(args, figures, worse))
    if args.html:
        args.html.write_text(difference_page.page((str(args.a), str(args.b)), made, figures, svg))
    return 1 if worse else 0


def _show(result: LoadRun | ProveRun, html: Path | None, console: Console) -> None:
    match result:
        case LoadRun():
            load_words.show(result)
            page = load_page.page(result)
        case ProveRun():
            prove_words.show(result, console)
            page = prove_page.page(result, plots.svg(prove_page.timeline(result), "prove"))
    if html:
        html.write_text(page)


def _compare(a: LoadRun | ProveRun, b: LoadRun | ProveRun) -> tuple[list[Figure], str, tuple[str, str]]:
    """Figures, a drawing of both where there is one, and when they were made. Raises NotAResult."""
    match a, b:
        case LoadRun(), LoadRun():
            return difference.of_loads(a, b), difference_page.overlay(a, b), (a.made, b.made)
        case ProveRun(), ProveRun():
            return difference.of_proofs(a, b), "", (a.made, b.made)
    raise NotAResult(f"one is a result of `{a.kind}`, the other of `{b.kind}`: they cannot be compared")


def _table(args: argparse.Namespace, figures: list[Figure], worse: list[Figure]) -> Table:
    table = Table(*(Column(name, justify="right" if name else "left") for name in difference.HEAD))
    table.title = f"A: {escape(str(args.a))}   B: {escape(str(args.b))}"
    for figure in figures:
        table.add_row(*map(escape, figure.cells), style="bold red" if figure in worse else None)
    return table
