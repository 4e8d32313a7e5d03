"""The operators' document as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fleetgate.operators import plain

LEVELS = {"ok": ("green", "✓"), "degraded": ("yellow", "!"), "down": ("red", "✕")}
STATES = {"healthy": "green", "unlisted": "yellow", "degraded": "yellow", "draining": "dim"}

Json = dict[str, Any]


def fleet(document: Json, width: int, rows: int | None = None) -> RenderableType:
    """All of it: verdict, numbers, pools, nodes (at most `rows`, trouble first), in `width` characters."""
    return Group(verdict(document), numbers(document), pools(document), nodes(document, rows, width))


def verdict(document: Json) -> RenderableType:
    """The sentence."""
    said = document["verdict"]
    color, mark = LEVELS.get(said["level"], ("yellow", "?"))
    return Panel(Text(f"{mark} {plain(said['text'])}", style=f"bold {color}"), border_style=color)


def numbers(document: Json) -> RenderableType:
    """Rates and latencies in two lines."""
    now, minute, registry = document["last_10s"], document["last_60s"], document["registry"]
    state = f"stale ({plain(registry['stale'])})" if registry["stale"] else "good" if registry["answered"] else "silent"
    first = (
        f"{now['per_second']:.1f} requests/s · {now['errors']} errors · {now['refused']} refused in 10 s"
        f" · registry {state} for {age(registry['for_seconds'])}"
    )
    second = " · ".join(f"{name} {_latency(minute[name])}" for name in ("light", "heavy"))
    return Text("\n".join((first, second, *_workers(document))))


def _workers(document: Json) -> list[str]:
    """Nothing for a single process."""
    rows = document.get("workers") or []
    told = [f"{row['number']} {plain(row['state'])} {row['per_second']:.1f}/s" for row in rows]
    return [f"workers {' · '.join(told)}"] if told else []


def _latency(of: Json) -> str:
    return f"p50 {ms(of['p50'])} p95 {ms(of['p95'])} p99 {ms(of['p99'])}"


def pools(document: Json) -> RenderableType:
    """One row a pool."""
    table = _table(
        "Pool", "Usable", "Slots busy", "Queued", "Oldest", "Spill", right=("Usable", "Slots busy", "Queued", "Oldest")
    )
    for pool in document["pools"]:
        table.add_row(
            _cell(pool["name"]),
            f"{pool['usable']}/{pool['nodes']}",
            f"{pool['busy']}/{pool['capacity']}",
            str(pool["queued"]),
            f"{pool['oldest_wait_seconds']:.1f} s",
            _cell(pool["spill"]),
        )
    return table


def nodes(document: Json, rows: int | None, width: int) -> RenderableType:
    """One row a node; when there are more than `rows`, trouble first and the rest counted."""
    found = document["nodes"]
    if rows is not None and len(found) > rows:
        found = sorted(found, key=lambda node: node["state"] == "healthy")[:rows]
    shown = [column for column in COLUMNS if width >= column[1]]
    table = _table(*(title for title, *_ in shown), right=RIGHT)
    for node in found:
        table.add_row(*(tell(node) for _, _, tell in shown))
    if len(found) < len(document["nodes"]):
        table.caption = f"and {len(document['nodes']) - len(found)} more"
    return table


def _state(node: Json) -> str:
    return f"[{STATES.get(node['state'], 'red')}]{_cell(node['state'])}[/]"


# title, the narrowest terminal that shows it, its cell
COLUMNS: tuple[tuple[str, int, Callable[[Json], str]], ...] = (
    ("Node", 0, lambda node: _cell(node["id"])),
    ("Pool", 0, lambda node: _cell(node["pool"])),
    ("State", 0, _state),
    ("For", 0, lambda node: age(node["for_seconds"])),
    ("Why", 0, lambda node: _cell(node["why"])),
    ("Slots", 0, lambda node: f"{node['in_flight'] - node['sent_ahead']}/{node['slots']}"),
    ("Work", 120, lambda node: ms(node["work_ms"])),
    ("Speed", 120, lambda node: f"×{node['speed']:.2f}"),
    ("Service", 110, lambda node: ms(node["service_ms"])),
    ("Errors", 70, lambda node: f"{node['error_share']:.1%}"),
    ("Share", 70, lambda node: f"{node['share']:.0%}"),
    ("Model", 140, lambda node: _cell(", ".join(node["models"]))),
)
RIGHT = ("For", "Slots", "Work", "Speed", "Service", "Errors", "Share")


def _cell(text: str) -> str:
    return escape(plain(text))


def _table(*columns: str, right: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in (*right, "State", "Pool")
        )
    return table


def ms(value: float | None) -> str:
    """Milliseconds, or seconds from one on."""
    if value is None:
        return "–"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


def age(seconds: float) -> str:
    """42 s, 3 min, 5 h, 2 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
