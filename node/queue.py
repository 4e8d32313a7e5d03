"""The node's heap: who is next. Pure.

Key = arrival + aging x predicted seconds: small work passes big work that came a little earlier, and nothing waits
for ever, because a late arrival's key rises with the clock. Rows that are over stay until they surface.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import count

from node.work import Row, Stage


def key(arrival: float, predicted_ms: float, aging: float) -> float:
    """The place in the heap; smaller goes first. `arrival` in seconds."""
    return arrival + aging * predicted_ms / 1000


class Queue:
    """Rows of one stage by key; equal keys in order of arrival."""

    __slots__ = ("_entries", "_numbers", "_stage")

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._entries: list[tuple[float, int, Row]] = []
        self._numbers = count()

    def rows(self) -> Iterator[Row]:
        """All that are still in this stage, in no order."""
        return (row for _, _, row in self._entries if row.stage is self._stage)

    def push(self, row: Row) -> None:
        """Add a row, which is of this stage already."""
        heapq.heappush(self._entries, (row.key, next(self._numbers), row))

    def put_back(self, rows: Sequence[Row]) -> None:
        """What was popped in this order, before its equals."""
        for row in reversed(rows):
            heapq.heappush(self._entries, (row.key, -next(self._numbers), row))

    def head(self) -> Row | None:
        """Who is next."""
        entries = self._entries
        while entries and entries[0][2].stage is not self._stage:
            heapq.heappop(entries)
        return entries[0][2] if entries else None

    def pop(self) -> Row:
        """Take the head, which must be there."""
        return heapq.heappop(self._entries)[2]
