"""Turns between models, so that one model's flood does not starve another. Pure.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): time is counted in work done. Who has had more work done lies
further ahead and waits until the others have caught up; who was away has saved nothing, and owes nothing.
"""

from __future__ import annotations

from collections.abc import Hashable


class Shares:
    """Equal shares of whatever is handed out turn by turn, in milliseconds."""

    __slots__ = ("_now", "_until")

    def __init__(self) -> None:
        self._now = 0.0
        self._until: dict[Hashable, float] = {}  # those that lie ahead of now

    def turn(self, who: Hashable) -> float:
        """The smallest goes first; equal ones as their requests came."""
        return max(self._now, self._until.get(who, 0.0))

    def charge(self, who: Hashable, ms: float) -> None:
        """It is `who`'s turn, and the work takes about `ms`."""
        self._now = self.turn(who)
        self._until[who] = self._now + ms
        if len(self._until) > 1:
            self._until = {each: until for each, until in self._until.items() if until > self._now}
