"""Results for people: tables in a terminal, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from loadtest.simulate.planning import Answer
from loadtest.simulate.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run and where it belongs."""

    load: str
    utilisation: float
    result: Result


COLUMNS = ("light p50", "p95", "p99", "in target", "heavy p50", "p95", "p99", "in target", "all", "refused", "crossed")


def table(rows: Sequence[Row], title: str) -> Table:
    """A line per run, loads apart."""
    shown = Table(title=title, caption="milliseconds; -: that part was refused; crossed: outside its own pool")
    shown.add_column("load", no_wrap=True)
    shown.add_column("policy", no_wrap=True)
    for name in COLUMNS:
        shown.add_column(name, justify="right")
    for number, row in enumerate(rows):
        last = number + 1 == len(rows) or rows[number + 1].load != row.load
        first = number == 0 or rows[number - 1].load != row.load
        shown.add_row(row.load if first else "", row.result.name, *_figures(row.result), end_section=last)
    return shown


def plans(answers: Sequence[Answer], share: float) -> Table:
    """Fleets that hold the targets, the cheapest first."""
    shown = Table(title=f"smallest fleets with {share:.1%} of each class within its target")
    for name in ("light", "heavy", "price", "light p99", "in target", "heavy p99", "in target", "refused"):
        shown.add_column(name, justify="right")
    for each in answers:
        light, heavy = each.result.light, each.result.heavy
        shown.add_row(
            str(each.light),
            str(each.heavy),
            f"{each.price:g}",
            _ms(light.p99),
            f"{light.within:.2%}",
            _ms(heavy.p99),
            f"{heavy.within:.2%}",
            f"{each.result.refused:.2%}",
        )
    return shown


def plot(rows: Sequence[Row], path: Path) -> None:
    """Percentile and share within target by utilisation, a line per policy; PNG or SVG by the name's end."""
    import matplotlib  # noqa: PLC0415 - tables need no plotting library

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, panels = pyplot.subplots(2, 2, figsize=(11, 7), sharex=True)
    names = list(dict.fromkeys(row.result.name for row in rows))
    for name in names:
        mine = [row for row in rows if row.result.name == name]
        loads = [row.utilisation * 100 for row in mine]
        for column, kind in enumerate(("light", "heavy")):
            classes = [getattr(row.result, kind) for row in mine]
            _line(panels[0][column], loads, [each.p99 for each in classes], name)
            _line(panels[1][column], loads, [each.within * 100 for each in classes], name)
    for column, kind in enumerate(("light", "heavy")):
        panels[0][column].set(title=f"{kind}: p99, ms (no point: that part was refused)", ylim=(0, None))
        panels[1][column].set(title=f"{kind}: within target, %", xlabel="utilisation, %")
    panels[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _line(panel: Axes, x: list[float], y: list[float], name: str) -> None:
    style = {"color": "grey", "linestyle": "--"} if name.startswith("floor") else {"marker": "o", "markersize": 4}
    panel.plot(x, y, label=name, **style)
    panel.grid(True, alpha=0.3)


def _figures(result: Result) -> list[str]:
    light, heavy = result.light, result.heavy
    return [
        *(_ms(value) for value in (light.p50, light.p95, light.p99)),
        f"{light.within:.2%}",
        *(_ms(value) for value in (heavy.p50, heavy.p95, heavy.p99)),
        f"{heavy.within:.2%}",
        f"{result.within:.2%}",
        f"{result.refused:.2%}",
        f"{result.crossed:.0%}",
    ]


def _ms(value: float) -> str:
    return "-" if value == float("inf") else f"{value:.0f}"
