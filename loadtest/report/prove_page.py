"""The page about a proof: the table, and every request on a timeline."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.results import Moment
from loadtest.openloop.verdict import Kind
from loadtest.prove.account import HEAD, rows
from loadtest.prove.results import ProveRun
from loadtest.prove.words import markdown, remarks
from loadtest.report import plots
from loadtest.report.page import Page


def write(run: ProveRun, folder: Path) -> None:
    """report.html, timeline.svg, timeline.png, results.md."""
    drawing = timeline(run)
    svg = plots.svg(drawing, "prove")
    (folder / "timeline.svg").write_text('<?xml version="1.0" encoding="utf-8"?>\n' + svg)
    (folder / "timeline.png").write_bytes(plots.png(drawing))
    (folder / "report.html").write_text(page(run, svg))
    (folder / "results.md").write_text(markdown(run))


def page(run: ProveRun, svg: str) -> str:
    """HTML."""
    told = Page("What the fleet loses when its parts die")
    told.say(f"{run.made} UTC; {run.fleet}; {run.rate:g} requests/s, arrivals of independent users; {run.machine}.")
    *others, verdict = remarks(run)
    told.say(verdict, "good" if "none was lost" in verdict else "bad")
    told.table(HEAD, [row.cells for row in rows(run)], "p99 of small photos, from when they were due", words=True)
    told.drawing(svg, "every request over time, with what was done to the fleet")
    for line in others:
        told.say(line)
    return told.html()


def timeline(run: ProveRun) -> Figure:
    """Above requests a second by how they ended, below the latency of every one."""
    figure = Figure(figsize=(14, 7), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[1, 2])
    plots.stacked(upper, _seconds(run), 1.0)
    upper.set_ylabel("requests/s")
    upper.legend(frameon=False, ncol=5, fontsize=8)
    for size_class, colour in plots.COLOURS.items():
        good = [hit for hit in run.hits if hit.size_class == size_class and hit.kind is Kind.ANSWERED]
        lower.scatter([hit.due for hit in good], [hit.ms for hit in good], 5, color=colour, label=size_class)
    bad = [hit for hit in run.hits if hit.kind is not Kind.ANSWERED]
    lower.scatter(
        [hit.due for hit in bad], [hit.ms for hit in bad], 40, color="#d1495b", marker="x", label="not served"
    )
    again = [hit for hit in run.hits if hit.kind is Kind.ANSWERED and (hit.attempts > 1 or hit.resent)]
    lower.scatter(
        [hit.due for hit in again], [hit.ms for hit in again], 40, facecolors="none", edgecolors="#111", label="retried"
    )
    for trial in run.trials:
        over = max(trial.repaired, trial.recovered or 0.0)
        for axis in (upper, lower):
            axis.axvspan(trial.harm, over, color="#8884", zorder=0)
            if trial.noticed is not None:
                axis.axvline(trial.noticed, color="#d97706", linewidth=1, linestyle=":")
        upper.annotate(trial.name, (trial.harm, 1.0), xycoords=("data", "axes fraction"), rotation=20, fontsize=8)
    lower.set_yscale("log")
    lower.set_ylabel("ms from due")
    lower.set_xlabel("seconds; grey: from the harm until the fleet is whole again, dotted: noticed by the gateway")
    lower.grid(visible=True, which="both", alpha=0.2)
    lower.legend(frameon=False, ncol=4, fontsize=8)
    return figure


def _seconds(run: ProveRun) -> list[Moment]:
    found: dict[int, Moment] = {}
    for hit in run.hits:
        moment = found.setdefault(int(hit.due), Moment(float(int(hit.due)), small=Histogram()))
        moment.ended[hit.kind] = moment.ended.get(hit.kind, 0) + 1
    return [found[second] for second in sorted(found)]
