"""How often something may happen: so many a second, with a second's worth of credit (pure)."""

from __future__ import annotations


class Rate:
    """So many a second, with a second's worth of credit."""

    __slots__ = ("_at", "_credit", "_most", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._credit = per_second
        self._most = max(1.0, per_second)
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """Whether one more may pass now; `now` in seconds on any clock."""
        if now != self._at:
            if now > self._at:
                credit = self._credit + (now - self._at) * self._per_second
                self._credit = credit if credit < self._most else self._most
            self._at = now
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
