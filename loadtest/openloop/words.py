"""A run of the open loop in words and tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from loadtest.openloop.histogram import PERCENTILES, Histogram
from loadtest.openloop.results import LATE_P99_MS, LoadRun, Tally, together
from loadtest.openloop.run import KNEE, knee_of
from loadtest.openloop.verdict import Kind

COUNTS = ("sent", "answered", "refused", "failed", "wrong", "lost")
PART_COUNTS = ("sent", "answered", "refused", "bad")
WIDTH = 130  # of a file or a pipe
NOTABLE = 1.5  # ratio of the two views that deserves a sentence


def show(run: LoadRun) -> None:
    """Everything, on standard output."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(_latencies(run))
    if len(run.plan) > 1:
        console.print(_parts(run))
    for line in remarks(run):
        console.print(escape(line), soft_wrap=True)


def counts(tally: Tally) -> list[str]:
    """Cells under COUNTS."""
    return [str(tally.sent), *(str(tally.of(Kind(name)) or "–") for name in COUNTS[1:])]


def times(histogram: Histogram) -> list[str]:
    """Cells of PERCENTILES and the maximum, milliseconds."""
    if not histogram.total:
        return ["–"] * (len(PERCENTILES) + 1)
    return [ms(histogram.percentile(percent)) for percent in PERCENTILES] + [ms(histogram.max_ms)]


def ms(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def remarks(run: LoadRun) -> Iterator[str]:
    """What deserves a sentence, the most important last."""
    if run.stopped:
        yield f"Stopped early: {run.stopped}."
    if run.schedule == KNEE:
        yield f"The knee: {knee_of(run):g} requests/s were borne."
    total = run.total
    for why, count in sorted(total.why.items(), key=lambda item: -item[1])[:10]:
        yield f"{count} x {why}"
    if total.resent:
        yield f"{total.resent} met a connection that the target was just closing and were sent again."
    client = run.client
    if client.held_back:
        yield (
            f"{client.held_back} requests found all {client.limit} connections busy and waited in the client: "
            "only the view from when they were due knows of that wait."
        )
    yield from _two_views(run)
    late = client.late
    yield (
        f"The client: late by p50 {ms(late.percentile(50))}, p99 {ms(late.percentile(99))}, max {ms(late.max_ms)} ms; "
        f"{client.cpu:.0%} of one core; up to {client.connections} connections."
    )
    if client.faults:
        yield (
            f"WARNING: the client itself was a limit: {'; '.join(client.faults)}. The latencies above hold that delay "
            "of its own: send less, or from a machine with an idle core."
        )


def part_rows(run: LoadRun) -> list[list[str]]:
    """Cells per phase: name, rates, PART_COUNTS, then p50 and p99 of each size class."""
    rows = []
    for phase, tallies in zip(run.plan, run.phases, strict=True):
        all_classes = together(tallies.values())
        numbers = all_classes.sent, all_classes.of(Kind.ANSWERED), all_classes.of(Kind.REFUSED), all_classes.bad
        cells = [ms(t.from_due.percentile(p)) if t.from_due.total else "–" for t in tallies.values() for p in (50, 99)]
        rows.append([phase.name, _rates(phase.start, phase.end), *(str(n or "–") for n in numbers), *cells])
    return rows


def _two_views(run: LoadRun) -> Iterator[str]:
    for name, tally in run.by_class.items():
        due, sent = tally.from_due.percentile(99), tally.from_sent.percentile(99)
        if sent and due > NOTABLE * sent and due - sent > LATE_P99_MS:
            yield (
                f"Coordinated omission: measured from the send, p99 of {name} photos looks like {ms(sent)} ms; "
                f"users waited {ms(due)} ms."
            )


def _latencies(run: LoadRun) -> Table:
    table = Table(
        "size class",
        *(Column(name, justify="right") for name in COUNTS),
        "counted",
        *(Column(f"p{percent:g}", justify="right") for percent in PERCENTILES),
        Column("max", justify="right"),
        title=f"{escape(run.target)}: {run.schedule}, {run.rate:g} requests/s for {run.seconds:g} s; milliseconds",
    )
    for name, tally in run.by_class.items():
        table.add_row(name, *counts(tally), "from due", *times(tally.from_due))
        table.add_row(*[""] * (1 + len(COUNTS)), "from send", *times(tally.from_sent), style="dim", end_section=True)
    return table


def _parts(run: LoadRun) -> Table:
    table = Table("part", "requests/s", title="from when requests were due; milliseconds")
    for name in PART_COUNTS:
        table.add_column(name, justify="right")
    for name in run.classes:
        table.add_column(f"{name}\np50", justify="right")
        table.add_column("p99", justify="right")
    for row in part_rows(run):
        table.add_row(*row)
    return table


def _rates(start: float, end: float) -> str:
    return f"{start:g}" if start == end else f"{start:.3g} to {end:.3g}"
