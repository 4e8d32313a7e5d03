"""A proof as a table for a terminal, and as Markdown for the README."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from loadtest.openloop.words import ms
from loadtest.prove.account import HEAD, lost, rows
from loadtest.prove.results import ProveRun


def show(run: ProveRun, console: Console) -> None:
    """The table and what else must be said."""
    table = Table(
        *(Column(name, justify="left" if name in (HEAD[0], HEAD[-1]) else "right", overflow="fold") for name in HEAD),
        title=f"{run.fleet}; {run.rate:g} requests/s; p99 of small photos, from when they were due",
    )
    for row in rows(run):
        table.add_row(*map(escape, row.cells), style="bold red" if row.lost else None)
    console.print(table)
    for line in remarks(run):
        console.print(escape(line), soft_wrap=True)


def remarks(run: ProveRun) -> list[str]:
    """Sentences, the verdict last."""
    late = run.late
    said = [f"Left out: {each}." for each in run.left_out]
    said.append(f"The client: late by p50 {ms(late.percentile(50))}, p99 {ms(late.percentile(99))} ms.")
    if run.untoward:
        said.append(f"Ended early: {run.untoward}.")
    gone = lost(run)
    said.append(
        f"{gone} of {len(run.hits)} requests were lost." if gone else f"Of {len(run.hits)} requests none was lost."
    )
    return said


def markdown(run: ProveRun) -> str:
    """The table for a page."""
    lines = [_line(HEAD), "|---|" + "--:|" * (len(HEAD) - 2) + "---|"]
    lines += [_line(row.cells) for row in rows(run)]
    return "\n".join([*lines, "", *remarks(run)]) + "\n"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
