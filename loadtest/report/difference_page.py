"""The page about two runs."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.results import LoadRun
from loadtest.report import plots
from loadtest.report.difference import HEAD, Figure
from loadtest.report.page import Page


def page(names: tuple[str, str], made: tuple[str, str], figures: Sequence[Figure], svg: str = "") -> str:
    """HTML; `svg` draws both runs."""
    told = Page(f"{names[0]} and {names[1]}")
    told.say(f"A: {names[0]}, {made[0]} UTC. B: {names[1]}, {made[1]} UTC.")
    told.table(HEAD, [figure.cells for figure in figures], "Latencies count from when requests were due")
    if svg:
        told.drawing(svg, "latency by percentile of both runs")
    return told.html()


def overlay(a: LoadRun, b: LoadRun) -> str:
    """Percentiles of both, A dotted."""
    lines: dict[str, tuple[Histogram, str, str]] = {}
    for name in a.by_class:
        if name in b.by_class:
            lines[f"{name}, A"] = (a.by_class[name].from_due, plots.COLOURS[name], ":")
            lines[f"{name}, B"] = (b.by_class[name].from_due, plots.COLOURS[name], "-")
    return plots.svg(plots.percentiles(lines), "overlay")
