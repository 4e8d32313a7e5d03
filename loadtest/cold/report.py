"""The comparison as a table, Markdown and JSON."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Column, Table

from loadtest.cold.measure import Figures


def write(found: Sequence[Figures], folder: Path) -> None:
    """results.json and results.md, and the table on the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    document = {"date": time.strftime("%Y-%m-%d"), "machine": machine, "ways": found}
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
    head, lines = _head(found), [_cells(each) for each in found]
    text = [f"| {' | '.join(head)} |", "| --- |" + " --: |" * (len(head) - 1)]
    (folder / "results.md").write_text("\n".join([*text, *(f"| {' | '.join(line)} |" for line in lines), ""]))
    table = Table(head[0], *[Column(name, justify="right") for name in head[1:]])
    for line in lines:
        table.add_row(*line)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    slow, warm = found[0], found[-1]
    if slow is not warm:
        for one, other in zip(slow.steady, warm.steady, strict=True):
            ratio = one.median_ms / other.median_ms
            console.print(f"{one.clients} clients: {warm.way} answers {ratio:.0f} times as fast as {slow.way}")


def _head(found: Sequence[Figures]) -> list[str]:
    head = ["", "first answer"]
    for steady in found[0].steady:
        clients = f"{steady.clients} client{'s' if steady.clients > 1 else ''}"
        head += [f"median, {clients}", f"slowest, {clients}", f"answers/s, {clients}"]
    return head


def _cells(figures: Figures) -> list[str]:
    cells = [figures.way, _time(figures.first_ms)]
    for steady in figures.steady:
        cells += [_time(steady.median_ms), _time(steady.slowest_ms), f"{steady.per_second:.2f}"]
    return cells


def _time(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.1f} ms"
