"""The comparison as a table, a plot and a JSON file, and how far the figures to reach were reached."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import msgspec
from rich.console import Console
from rich.table import Column, Table

from loadtest.serving.bare import NAMES as BARE
from loadtest.serving.contenders import TWICE
from loadtest.serving.photos import SHARES
from loadtest.serving.sample import Sample, Summary, summary

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS = "fleetgate"
HEAD = (
    "req/s", "of bare", "CPU ms/req", "p50 ms", "p99 ms", "p99 small", "RSS MB", "PSS MB", "client ms/req", "others",
    "failed",
)  # fmt: skip
_PLOTTED = {
    "requests/s at saturation": "per_second",
    "CPU ms per request": "cpu_ms",
    "p99 ms at half of its own rate": "p99",
}


class Report(msgspec.Struct):
    """One whole comparison."""

    date: str
    machine: str
    samples: list[Sample]

    def of(self, server: str, images: str) -> Summary | None:
        """What all rounds found of one server."""
        found = [each for each in self.samples if (each.server, each.images) == (server, images)]
        return summary(found) if found else None

    def all(self, images: str) -> list[Summary]:
        """Every server that was measured with these images."""
        names = dict.fromkeys(each.server for each in self.samples if each.images == images)
        return [found for name in names if (found := self.of(name, images)) is not None]

    def bare(self, images: str) -> Summary | None:
        """The faster of the bare loops."""
        found = [each for each in self.all(images) if each.server in BARE]
        return max(found, key=lambda each: each.per_second, default=None)

    def peers(self, images: str, *, plain: bool = False) -> list[Summary]:
        """The other servers that decode as we do, or else as their own documentation does."""
        others = [each for each in self.all(images) if each.server not in (OURS, *BARE)]
        return [each for each in others if (each.server in TWICE) == plain]


def merged(folder: Path, samples: Sequence[Sample], *, fresh: bool) -> Report:
    """New samples after those of earlier parts."""
    file = folder / "results.json"
    kept = msgspec.json.decode(file.read_bytes(), type=Report).samples if file.exists() and not fresh else []
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return Report(time.strftime("%Y-%m-%d"), machine, [*kept, *samples])


def write(report: Report, folder: Path) -> None:
    """results.json, results.md and comparison.png; tables on the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    (folder / "results.md").write_text(markdown(report))
    console = Console(width=None if sys.stdout.isatty() else 150)
    for images in _present(report):
        table = Table("server", *[Column(name, justify="right") for name in HEAD], title=images)
        for name, cells in rows(report, images):
            table.add_row(name, *cells, style="bold" if name == OURS else None)
        console.print(table)
    for line in goals(report):
        console.print(line)
    _plot(report, folder / "comparison.png")


def markdown(report: Report) -> str:
    """The same for a page."""
    lines = [f"{report.date}, {report.machine}"]
    for images in _present(report):
        lines += ["", f"### {images}", "", "| server | " + " | ".join(HEAD) + " |", "| --- |" + " --: |" * len(HEAD)]
        lines += ["| " + " | ".join((name, *cells)) + " |" for name, cells in rows(report, images)]
    return "\n".join([*lines, "", *(f"- {line}" for line in goals(report)), ""])


def rows(report: Report, images: str) -> list[tuple[str, list[str]]]:
    """Bare loops, ours, then the others, fastest first."""
    here = report.all(images)
    here.sort(key=lambda each: (each.server not in BARE, each.server != OURS, -each.per_second))
    bare = report.bare(images)
    return [(each.server, _cells(each, bare)) for each in here]


def _cells(sample: Summary, bare: Summary | None) -> list[str]:
    share = f"{sample.per_second / bare.per_second:.0%}" if bare else "–"
    cells = [f"{sample.per_second:.1f}", share, f"{sample.cpu_ms:.2f}"]
    if sample.server in BARE:
        return [*cells, *["–"] * (len(HEAD) - len(cells) - 2), f"{sample.others:.2f}", "–"]
    cells += [f"{value:.1f}" for value in (sample.p50, sample.p99, sample.p99_small)]
    cells += [f"{sample.rss_mb:.0f}", f"{sample.pss_mb:.0f}", f"{sample.client_cpu_ms:.2f}"]
    cells += [f"{sample.others:.2f}", str(sample.not_answered)]
    return cells


def goals(report: Report) -> list[str]:
    """Each of the figures to reach that the samples at hand can speak to, in a line."""
    found = []
    for images in _present(report):
        ours, bare = report.of(OURS, images), report.bare(images)
        if ours and bare:
            rate, cpu = ours.per_second / bare.per_second, bare.cpu_ms / ours.cpu_ms
            found.append(f"{images}: {rate:.0%} of the bare loop's rate (wanted 90 %); {cpu:.0%} of its CPU efficiency")
        for plain, others in ((False, "the others"), (True, "those that decode in full")):
            if ours and (peers := report.peers(images, plain=plain)):
                found += [f"{images}: {line}" for line in _beside(ours, peers, others)]
    return found


def _beside(ours: Summary, peers: Sequence[Summary], others: str) -> list[str]:
    best, calm = max(peers, key=lambda each: each.per_second), min(peers, key=lambda each: each.p99)
    return [
        f"{ours.per_second / best.per_second:.2f} x {best.server}, the fastest of {others} (wanted 1.3 on the mix)",
        f"p99 {ours.p99:.0f} ms, the best of {others} {calm.server} with {calm.p99:.0f}",
    ]


def _present(report: Report) -> list[str]:
    return [images for images in SHARES if any(each.images == images for each in report.samples)]


def _plot(report: Report, file: Path) -> None:
    kinds = _present(report)
    figure, axes = plt.subplots(len(kinds), len(_PLOTTED), figsize=(15, 2.6 * len(kinds) + 0.6), squeeze=False)
    for line, images in zip(axes, kinds, strict=True):
        names = [name for name, _ in rows(report, images)]
        found = {each.server: each for each in report.all(images)}
        for axis, (title, field) in zip(line, _PLOTTED.items(), strict=True):
            values = [getattr(found[name], field) for name in names]
            colours = ["#d97706" if name == OURS else "#475569" if name in BARE else "#94a3b8" for name in names]
            axis.bar_label(axis.barh(names, values, color=colours), fmt="%.1f", fontsize=7)
            axis.invert_yaxis()
            axis.set_title(f"{images}: {title}", fontsize=9)
            axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)
