"""How hard it is to serve a size class in time: decides how much its small requests go first.

While everybody is in time, the order of arrival is the best one: within a class all have about the same target, so the
earliest has the least time left (Jackson 1955). Once some must be lost, the large ones cost the most others (Moore
1968). Evidence: docs/decisions/0006-routing.md.
"""

from __future__ import annotations

WINDOW = 64  # requests that are remembered, about
FULL = 0.1  # a share of late ones at which there is no more to be gained by going on


class Pressure:
    """The share of recent requests of one class that were late or refused."""

    __slots__ = ("missed",)

    def __init__(self) -> None:
        self.missed = 0.0

    def count(self, late: bool) -> None:
        """One more found its node, or no hope."""
        self.missed += ((1.0 if late else 0.0) - self.missed) / WINDOW

    @property
    def level(self) -> float:
        """0 at ease to 1."""
        missed = self.missed / FULL
        return missed if missed < 1.0 else 1.0
