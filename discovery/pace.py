"""How often a registry is asked (pure): a token bucket for every round, a back-off after failures."""

from __future__ import annotations

from random import Random


class TokenBucket:
    """At most `burst` rounds at once, then `per_second`: a registry that answers at once for ever is not stormed."""

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._tokens = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take a token; seconds to wait until it is ours."""
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._tokens = min(self._burst, self._tokens + passed * self._per_second) - 1
        return max(0.0, -self._tokens / self._per_second)


class Backoff:
    """Exponential with full jitter, so that a fleet does not come back to a registry in step."""

    def __init__(self, first: float, most: float, rng: Random) -> None:
        self._first = first
        self._most = most
        self._rng = rng
        self._failures = 0

    def failed(self) -> float:
        """Seconds to wait after one more failure in a row."""
        ceiling = min(self._most, self._first * 2 ** min(self._failures, 30))
        self._failures += 1
        return self._rng.uniform(0, ceiling)

    def succeeded(self) -> None:
        """Start anew."""
        self._failures = 0
