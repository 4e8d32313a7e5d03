"""The comparison as a table, a plot and a JSON file."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import msgspec
from rich.console import Console
from rich.table import Column, Table

from loadtest.proxy.measure import Sample

mpl.use("Agg")
from matplotlib import pyplot as plt


def write(samples: Sequence[Sample], idle: Mapping[str, float], folder: Path) -> None:
    """Print the table; write results.json and cpu.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "samples": samples,
        "idle_connection_bytes": idle,
    }
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
    _print(samples, idle)
    _plot(samples, folder / "cpu.svg")


def _print(samples: Sequence[Sample], idle: Mapping[str, float]) -> None:
    right = [
        Column(name, justify="right")
        for name in ("conns", "backends", "workers", "CPU µs/req", "of Envoy", "req/s", "p99 ms", "errors")
    ]
    table = Table("body", "proxy", *right)
    for s in samples:
        reference = _envoy(samples, s)
        ratio = f"{s.cpu_us / reference:.2f}" if reference else "–"
        table.add_row(
            s.body,
            s.proxy,
            str(s.connections),
            str(s.backends),
            str(s.workers),
            f"{s.cpu_us:.1f}",
            ratio,
            f"{s.per_second:.0f}",
            f"{s.p99_ms:.1f}",
            str(s.errors),
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for name, size in idle.items():
        console.print(f"one idle connection costs {name} {size / 1024:.1f} KiB")


def _envoy(samples: Sequence[Sample], like: Sample) -> float:
    key = (like.body, like.connections, like.backends, like.workers)
    return next(
        (s.cpu_us for s in samples if s.proxy == "envoy" and (s.body, s.connections, s.backends, s.workers) == key), 0.0
    )


def _plot(samples: Sequence[Sample], file: Path) -> None:
    plain = [s for s in samples if s.backends == 1 and s.workers == 1]
    bodies = list(dict.fromkeys(s.body for s in plain))
    proxies = list(dict.fromkeys(s.proxy for s in plain))
    figure, axes = plt.subplots(1, max(1, len(bodies)), figsize=(3.2 * max(1, len(bodies)), 3.4), squeeze=False)
    for axis, body in zip(axes[0], bodies, strict=False):
        costs = [min((s.cpu_us for s in plain if (s.proxy, s.body) == (p, body)), default=0.0) for p in proxies]
        axis.barh(proxies, costs, color=["#d97706" if p == "fleetgate" else "#94a3b8" for p in proxies])
        axis.invert_yaxis()
        axis.set_title(body)
        axis.set_xlabel("CPU µs per request")
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
