"""How long our own loop was away, and what then may be said about others who seemed silent (pure).

A gateway that gets no CPU sees its timers ring before it reads what nodes have answered long ago.
"""

from __future__ import annotations

# Lateness below this share of a limit is how every loop is.
_USUAL = 0.05
# Above this share of it the limit says nothing about anybody.
_MOST = 0.5


class Lateness:
    """Adds up by how much a timer that is set again and again was late. Times are seconds on one clock."""

    def __init__(self, now: float) -> None:
        self._due = now
        self._lost = 0.0

    def expect(self, now: float, at: float) -> None:
        """The timer is set now, to ring then; whatever it was late until now counts."""
        self._lost = self.lost(now)
        self._due = at

    def lost(self, now: float) -> float:
        """All time that was lost so far: take the difference of two moments."""
        return self._lost + max(0.0, now - self._due)


def more_time(limit: float, late: float) -> float | None:
    """Seconds for which to go on waiting, once a limit is over during which the loop was `late`; 0: it was silent.

    None: nothing can be said, ask anew.
    """
    if late <= _USUAL * limit:
        return 0.0
    return late if late <= _MOST * limit else None
