"""The page about one run of the open loop."""

from __future__ import annotations

from loadtest.openloop.histogram import PERCENTILES
from loadtest.openloop.results import LoadRun
from loadtest.openloop.words import COUNTS, PART_COUNTS, counts, part_rows, remarks, times
from loadtest.report import plots
from loadtest.report.page import Page

HEADS = [f"p{percent:g} ms" for percent in PERCENTILES] + ["max ms"]


def page(run: LoadRun) -> str:
    """HTML."""
    told = Page(f"{run.target}: {run.schedule}, {run.rate:g} requests/s for {run.seconds:g} s")
    arrivals = "independent users" if run.poisson else "evenly spaced"
    told.say(f"{run.made} UTC; arrivals: {arrivals}; client: {run.client.machine}.")
    for line in remarks(run):
        told.say(line, "bad" if line.startswith("WARNING") else "")
    told.table(
        ["size class", *COUNTS, *HEADS],
        [[name, *counts(tally), *times(tally.from_due)] for name, tally in run.by_class.items()],
        "As users feel it: from when each request was due",
    )
    told.table(
        ["size class", *HEADS],
        [[name, *times(tally.from_sent)] for name, tally in run.by_class.items()],
        "As tools tell it that count from their own send",
    )
    if len(run.plan) > 1:
        told.table(["part", "requests/s", *PART_COUNTS, *(f"{c} {p} ms" for c in run.classes for p in ("p50", "p99"))],
                   part_rows(run), "Part by part")  # fmt: skip
    told.drawing(plots.svg(plots.timeline(run), "timeline"), "requests and latencies over time")
    lines = {}
    for name, tally in run.by_class.items():
        lines[f"{name}, from due"] = (tally.from_due, plots.COLOURS[name], "-")
        lines[f"{name}, from send"] = (tally.from_sent, plots.COLOURS[name], ":")
    told.drawing(plots.svg(plots.percentiles(lines), "percentiles"), "latency by percentile, both views")
    return told.html()
