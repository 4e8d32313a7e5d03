"""The comparison as a picture: latencies over load, and who answers which scenario in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from loadtest.compare.contenders import CONTENDERS
from loadtest.compare.figures import Results
from loadtest.compare.report import Report
from loadtest.simulate.results import Result

mpl.use("Agg")
from matplotlib import pyplot as plt

LOADS = ("60", "80", "90", "95", "130")
COLOURS = {"fleetgate": "#d97706", "haproxy": "#2563eb", "envoy": "#a21caf", "nginx": "#059669", "traefik": "#64748b"}
CEILING_MS = 6000.0  # no answer is drawn here


def draw(report: Report, folder: Path) -> None:
    """comparison.svg and comparison.png."""
    figure, axes = plt.subplots(1, 3, figsize=(19, 6.5), gridspec_kw={"width_ratios": [1, 1, 1.5]})
    loads = [load for load in LOADS if load in report.floors]
    _lines(axes[0], report, loads, heavy=False)
    _lines(axes[1], report, loads, heavy=True)
    _shares(axes[2], report)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=6, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    for kind in ("svg", "png"):
        figure.savefig(folder / f"comparison.{kind}", dpi=110)
    plt.close(figure)


def _lines(axis: Any, report: Report, loads: list[str], *, heavy: bool) -> None:
    results = Results(report.outcomes)

    def p99(result: Result) -> float:
        return min(CEILING_MS, (result.heavy if heavy else result.light).p99)

    for name, contender in CONTENDERS.items():
        points = [(load, found) for load in loads if (found := results.of(load, name)) is not None]
        if not points:
            continue
        style = ":" if contender.queue else "--" if contender.split else "-"
        axis.plot(
            [load for load, _ in points],
            [p99(found.result) for _, found in points],
            style,
            color=COLOURS[contender.program],
            linewidth=3 if contender.ours else 1.1,
            marker="os^Dv"[hash_of(name) % 5],
            markersize=4,
            label=name,
        )
    for known, label, style in ((report.floors, "floor", ":"), (report.simulated, "fleetgate, simulated", "-.")):
        axis.plot(loads, [p99(known[load]) for load in loads], style, color="black", linewidth=1, label=label)
    axis.set_yscale("log")
    axis.set_title(f"{'oversized' if heavy else 'small'} p99, ms ({CEILING_MS:.0f}: no answer)")
    axis.set_xlabel("load, %")
    axis.grid(visible=True, which="both", alpha=0.2)


def hash_of(name: str) -> int:
    """The same for the same name in every run, unlike Python's own."""
    return sum(name.encode())


def _shares(axis: Any, report: Report) -> None:
    results = Results(report.outcomes)
    names = [name for name in CONTENDERS if any(each.contender == name for each in report.outcomes)]
    titles = [each.name for each in report.scenarios]
    table = np.full((len(names), len(titles)), np.nan)
    for row, name in enumerate(names):
        for column, title in enumerate(titles):
            if (found := results.of(title, name)) is not None:
                table[row, column] = found.result.within
                axis.text(column, row, f"{found.result.within * 100:.0f}", ha="center", va="center", fontsize=7)
    axis.imshow(table, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(titles)), titles, rotation=45, fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_title("answered in time, % of all requests")
