"""Drawings of runs, as SVG text that can stand inside a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from math import log10
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.results import LoadRun, Moment
from loadtest.openloop.verdict import Kind
from loadtest.schedule import rate_at

COLOURS = {"small": "#2563eb", "oversized": "#d97706"}
KIND_COLOURS = {
    Kind.ANSWERED: "#93c5a5",
    Kind.REFUSED: "#f2c14e",
    Kind.FAILED: "#d1495b",
    Kind.WRONG: "#8d3b72",
    Kind.LOST: "#111111",
}
NINES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


def svg(figure: Figure, salt: str) -> str:
    """Text of a figure; `salt` keeps the ids of several drawings on one page apart."""
    out = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """The same for where SVG cannot be shown."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def percentiles(lines: Mapping[str, tuple[Histogram, str, str]]) -> Figure:
    """Latency over percentile, nines evenly spaced. Per label: histogram, colour, line style."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axis = figure.subplots()
    for label, (histogram, colour, style) in lines.items():
        if not histogram.total:
            continue
        highest = min(NINES[-1], 100 * (1 - 1 / histogram.total)) if histogram.total > 1 else 50.0
        steps = [n / 40 for n in range(int(40 * _nines(highest)) + 1)]
        marks = [100 * (1 - 10**-step) for step in steps]
        axis.plot(steps, [histogram.percentile(mark) for mark in marks], style, color=colour, label=label)
    axis.set_xticks([_nines(p) for p in NINES], [f"{p:g}" for p in NINES])
    axis.set_yscale("log")
    axis.set_xlabel("percentile")
    axis.set_ylabel("ms")
    axis.grid(visible=True, which="both", alpha=0.2)
    axis.legend(frameon=False)
    return figure


def timeline(run: LoadRun) -> Figure:
    """Requests by how they ended, below p50 and p99 by size class."""
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    step = run.step_seconds
    at = [moment.at for moment in run.timeline]
    stacked(upper, run.timeline, step)
    asked = [rate_at(run.plan, t + step / 2) for t in at]
    upper.step(at, asked, where="post", color="black", linewidth=0.8, label="asked for")
    upper.set_ylabel("requests/s")
    upper.legend(frameon=False, ncol=6, fontsize=8)
    latencies(lower, run.timeline, run.classes)
    lower.set_xlabel("seconds")
    return figure


def stacked(axis: Any, moments: Sequence[Moment], step: float) -> None:
    """Bars of requests per second, by how they ended."""
    bottom = [0.0] * len(moments)
    for kind, colour in KIND_COLOURS.items():
        heights = [moment.ended.get(kind, 0) / step for moment in moments]
        if any(heights):
            at = [moment.at for moment in moments]
            axis.bar(at, heights, step, bottom=bottom, color=colour, label=kind.value, align="edge")
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]


def latencies(axis: Any, moments: Sequence[Moment], classes: Sequence[str] | Mapping[str, float]) -> None:
    """p50 and p99 over time, from when requests were due."""
    for name in classes:
        points = [(m.at, h) for m in moments if (h := m.small if name == "small" else m.oversized).total]
        for percent, style in ((50, "-"), (99, ":")):
            values = [histogram.percentile(percent) for _, histogram in points]
            axis.plot([at for at, _ in points], values, style, color=COLOURS[name], label=f"{name} p{percent}")
    axis.set_yscale("log")
    axis.set_ylabel("ms")
    axis.grid(visible=True, which="both", alpha=0.2)
    axis.legend(frameon=False, ncol=4, fontsize=8)


def _nines(percent: float) -> float:
    return -log10(1 - percent / 100)
