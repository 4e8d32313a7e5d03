"""What is new on the page since a reader last looked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.journal import Journal, Ring
from gateway.outcome import Outcome

# More decisions a second than anybody can read are told as a sample.
DECISIONS_PER_MESSAGE = 20

Marks = dict[str, int]


class Brief(msgspec.Struct, frozen=True):
    """A request in one row."""

    at: float
    request_id: str
    status: int
    error: str
    detail: str
    size_class: str
    pool: str
    node: str
    attempts: int
    pixels: int
    queue_ms: float
    cost_ms: float
    total_ms: float


def brief(outcome: Outcome) -> Brief:
    """One request in one row."""
    return Brief(
        at=round(outcome.at, 3),
        request_id=outcome.request_id,
        status=outcome.status,
        error=outcome.error,
        detail=outcome.detail,
        size_class=outcome.size_class,
        pool=outcome.pool,
        node=outcome.node,
        attempts=outcome.attempts,
        pixels=outcome.pixels,
        queue_ms=round(outcome.queue_ms, 1),
        cost_ms=round(outcome.cost_ms, 1),
        total_ms=round(outcome.total_ms, 1),
    )


def _rings(journal: Journal) -> dict[str, Ring[Any]]:
    names = ("errors", "refusals", "mistakes", "decisions", "events", "history", "light_dots", "heavy_dots")
    return {name: getattr(journal, name) for name in names}


def marks(journal: Journal) -> Marks:
    """How far the journal has come."""
    return {name: ring.total for name, ring in _rings(journal).items()}


def since(journal: Journal, earlier: Marks | None, until: Marks | None = None) -> dict[str, list[Any]]:
    """What came between two marks, by list, oldest first; without `earlier`, everything that is remembered."""
    fresh = {
        name: ring.since(earlier[name] if earlier else 0, until[name] if until else None)
        for name, ring in _rings(journal).items()
    }
    if earlier:
        fresh["decisions"] = fresh["decisions"][-DECISIONS_PER_MESSAGE:]
    return {name: _told(items) for name, items in fresh.items() if items}


def _told(items: Iterable[Any]) -> list[Any]:
    return [brief(item) if isinstance(item, Outcome) else item for item in items]
