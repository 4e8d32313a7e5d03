"""The comparison in words: a table per scenario on the terminal, all of them as Markdown, everything as JSON."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Column, Table

from loadtest.compare.contenders import CONTENDERS, HEAVY_MS, LIGHT_MS
from loadtest.compare.figures import Figure, Results, beats
from loadtest.compare.outcome import Outcome
from loadtest.compare.scenarios import Scenario
from loadtest.simulate.results import Result

HEAD = ("", "small p50", "p95", "p99", "oversized p50", "p95", "p99", "in time: small", "oversized", "all", "shed")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One whole comparison. Milliseconds are those of the emulated fleet's own time: true ones over `scale`."""

    date: str
    machine: str
    seconds: float
    scale: float
    scenarios: list[Scenario]
    outcomes: list[Outcome]
    floors: dict[str, Result]
    simulated: dict[str, Result]
    figures: list[Figure]


def machine() -> str:
    """This one, in a line."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def today() -> str:
    """The day."""
    return time.strftime("%Y-%m-%d")


def write(report: Report, folder: Path) -> None:
    """results.json and results.md, and all of it on the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    (folder / "results.md").write_text(markdown(report))
    console = Console(width=None if sys.stdout.isatty() else 170)
    for scenario in report.scenarios:
        table = Table(
            *[Column(name, justify="right" if name else "left") for name in HEAD], "better than fleetgate in", "fit"
        )
        table.title = scenario.title
        for row in rows(report, scenario.name):
            table.add_row(*row, style="bold" if row[0] == "fleetgate" else None)
        console.print(table)
    table = Table("goal", "wanted", "seen", "", title="Figures to reach")
    for figure in report.figures:
        table.add_row(figure.goal, figure.wanted, figure.seen, "reached" if figure.reached else "[bold red]MISSED[/]")
    console.print(table)


def markdown(report: Report) -> str:
    """The same for a page."""
    lines = [
        f"{report.date}, {report.machine}; {report.seconds:.0f} s a run, time scale {report.scale:g}.",
        f"In time: within {LIGHT_MS:.0f} ms (small), {HEAVY_MS:.0f} ms (oversized). ∞: that part had no answer.",
    ]
    for scenario in report.scenarios:
        lines += ["", f"### {scenario.title}", "", _line((*HEAD, "better than fleetgate in", "fit"))]
        lines += ["|---|" + "--:|" * (len(HEAD) - 1) + "---|---|"]
        lines += [_line(row) for row in rows(report, scenario.name)]
    lines += ["", "### Figures to reach", "", "| goal | wanted | seen | |", "|---|--:|---|---|"]
    lines += [
        _line((each.goal, each.wanted, each.seen, "" if each.reached else "**missed**")) for each in report.figures
    ]
    return "\n".join(lines) + "\n"


def rows(report: Report, scenario: str) -> list[tuple[str, ...]]:
    """Floor, simulation, fleetgate, then the others, best first."""
    results = Results(report.outcomes)
    ours = results.ours(scenario)
    found = [("zero-load floor", *_cells(report.floors[scenario]), "", "", "")]
    found.append(
        (
            "fleetgate, simulated",
            *_cells(report.simulated[scenario]),
            _percent(report.simulated[scenario].refused),
            "",
            "",
        )
    )
    here = [each for each in report.outcomes if each.scenario == scenario]
    here.sort(key=lambda each: (not CONTENDERS[each.contender].ours, -each.result.within))
    for each in here:
        better = ", ".join(beats(each, ours)) if ours is not None and each is not ours else ""
        found.append((each.contender, *_cells(each.result), _percent(each.shed), better, each.machine.fault or "✓"))
    return found


def _cells(result: Result) -> tuple[str, ...]:
    light, heavy = result.light, result.heavy
    times = [light.p50, light.p95, light.p99, heavy.p50, heavy.p95, heavy.p99]
    shares = [light.within, heavy.within, result.within]
    return (*[f"{each:.0f}" if isfinite(each) else "∞" for each in times], *[_percent(each) for each in shares])


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
