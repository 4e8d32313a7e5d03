"""How many retries the fleet can afford: a share of recent requests, and a few that are always allowed.

Counts per request alone make storms: when everything fails, every request is sent three times (tower
retry/budget, Finagle RetryBudget, Envoy retry_budget).
"""

from __future__ import annotations

WINDOW = 10  # seconds a deposit lives, as Finagle


class RetryBudget:
    """Deposits of `share` per request live for ten seconds; beside them `per_second` retries are always allowed."""

    __slots__ = ("_allowance", "_per_second", "_ring", "_second", "_share", "_stamp")

    def __init__(self, share: float, per_second: float) -> None:
        self._share = share
        self._per_second = per_second
        self._ring = [0.0] * WINDOW
        self._second = 0
        self._allowance = per_second
        self._stamp = float("-inf")

    def deposit(self, now: float) -> None:
        """A first attempt was made."""
        if int(now) != self._second:
            self._turn(now)
        self._ring[self._second % WINDOW] += self._share

    def withdraw(self, now: float) -> bool:
        """Whether one more attempt may be made now; if so it is taken from the budget."""
        self._turn(now)
        if self._allowance >= 1.0:
            self._allowance -= 1.0
            return True
        return self._take()

    def balance(self, now: float) -> float:
        """Retries that would be granted now."""
        self._turn(now)
        return sum(self._ring) + self._allowance

    def _take(self) -> bool:
        # Sums of 0.2 fall just short of whole numbers.
        if sum(self._ring) < 1.0 - 1e-9:
            return False
        need = 1.0
        for back in range(WINDOW - 1, -1, -1):  # the oldest first: they would expire anyway
            slot = (self._second - back) % WINDOW
            taken = min(need, self._ring[slot])
            self._ring[slot] -= taken
            need -= taken
        return True

    def _turn(self, now: float) -> None:
        second = int(now)
        passed = second - self._second
        if abs(passed) >= WINDOW:  # a long silence, or a clock that jumped: start afresh
            self._ring = [0.0] * WINDOW
            self._second = second
        elif passed > 0:
            for step in range(1, passed + 1):
                self._ring[(self._second + step) % WINDOW] = 0.0
            self._second = second
        elapsed = now - self._stamp
        if elapsed > 0:
            self._allowance = min(max(1.0, self._per_second), self._allowance + min(elapsed, 60.0) * self._per_second)
        self._stamp = now
