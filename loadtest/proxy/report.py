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

from loadtest.proxy.measure import Latency, Sample

mpl.use("Agg")
from matplotlib import pyplot as plt


def write(samples: Sequence[Sample], latencies: Sequence[Latency], idle: Mapping[str, float], folder: Path) -> None:
    """Print the tables; write results.json, cpu.svg and latency.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "samples": samples,
        "latencies": latencies,
        "idle_connection_bytes": idle,
    }
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))
    _print(samples, idle)
    _print_latencies(latencies)
    _plot(samples, folder / "cpu.svg")
    _plot_latencies(latencies, folder / "latency.svg")


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


def _print_latencies(latencies: Sequence[Latency]) -> None:
    right = [Column(name, justify="right") for name in ("p50 ms", "p99 ms", "we were late, ms", "errors")]
    table = Table("req/s", "body", "proxy", *right)
    for one in sorted(latencies, key=lambda each: (each.own_half, each.body, 0 if each.own_half else each.rate)):
        rate = f"{one.rate:.0f}, half of its own" if one.own_half else f"{one.rate:.0f}"
        found = one.result
        times = [f"{value:.2f}" for value in (found.p50_ms, found.p99_ms, found.late_ms)]
        table.add_row(rate, one.body, one.proxy, *times, str(found.errors))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


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
        axis.barh(proxies, costs, color=["#d97706" if p.startswith("fleetgate") else "#94a3b8" for p in proxies])
        axis.invert_yaxis()
        axis.set_title(body)
        axis.set_xlabel("CPU µs per request")
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


def _plot_latencies(latencies: Sequence[Latency], file: Path) -> None:
    titles = {("half of its own" if one.own_half else f"{one.rate:.0f} req/s"): None for one in latencies}
    figure, axes = plt.subplots(1, max(1, len(titles)), figsize=(3.2 * max(1, len(titles)), 3.4), squeeze=False)
    for axis, title in zip(axes[0], titles, strict=False):
        shown = [one for one in latencies if title == ("half of its own" if one.own_half else f"{one.rate:.0f} req/s")]
        names = [one.proxy for one in shown]
        axis.barh(names, [one.result.p99_ms for one in shown], color="#cbd5e1", label="p99")
        axis.barh(names, [one.result.p50_ms for one in shown], color="#d97706", label="p50")
        axis.invert_yaxis()
        axis.set_title(title)
        axis.set_xlabel("ms")
        axis.legend()
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
