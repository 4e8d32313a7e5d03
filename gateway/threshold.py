"""Where light ends and heavy begins, moved until each pool's share of work is its share of capacity (SITA-E).

Harchol-Balter, Crovella, Murta 1998; ROUTING 2. Off unless an operator turns it on.
"""

from __future__ import annotations

from math import log2

STEPS = 8  # per doubling
SIZE = 30 * STEPS  # from 0.1 ms to beyond a day
FLOOR_MS = 0.1
DECAY = 0.5
PERIOD = 512  # requests between two halvings of the memory


class Threshold:
    """A decayed histogram of work by cost; knows at which cost a share of it is reached."""

    __slots__ = ("_seen", "_work")

    def __init__(self) -> None:
        self._work = [0.0] * SIZE
        self._seen = 0

    def add(self, cost_ms: float) -> None:
        """A request of this cost arrived."""
        self._seen += 1
        if self._seen % PERIOD == 0:
            self._work = [work * DECAY for work in self._work]
        self._work[_step(cost_ms)] += cost_ms

    def cut(self, light_share: float) -> float:
        """The cost below which `light_share` of the work lies; infinity before anything arrived."""
        total = sum(self._work)
        if total <= 0.0:
            return float("inf")
        reached = 0.0
        for step, work in enumerate(self._work):
            reached += work
            if reached >= light_share * total:
                return float(FLOOR_MS * 2.0 ** ((step + 1) / STEPS))
        return float("inf")


def _step(cost_ms: float) -> int:
    return min(SIZE - 1, max(0, int(log2(max(cost_ms, FLOOR_MS) / FLOOR_MS) * STEPS)))
