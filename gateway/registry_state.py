"""How the gateway stands with its registry: when it last answered, since when it is stale, how often. Pure."""

from __future__ import annotations

from collections import Counter

from discovery.instance import Snapshot

# Words of a staleness that make a bounded metric label; anything else is "unreachable".
_REASONS = {"empty": "empty", "permission": "permission", "token": "permission", "403": "permission"}


def _reason(stale: str) -> str:
    words = stale.lower()
    return next((reason for word, reason in _REASONS.items() if word in words), "unreachable")


class RegistryState:
    """Fed with every snapshot; read by page and metrics. Times are wall clock, seconds since the epoch."""

    def __init__(self, url: str) -> None:
        self.url = url.rsplit("@", 1)[-1]  # never show credentials
        self.answered = False  # a first good snapshot has arrived
        self.stale = ""  # empty, or why the fleet is the last good one
        self.since = 0.0  # when it became what it is now: good or stale
        self.changed = 0.0  # when a good snapshot last arrived
        self.updates = 0
        self.failures: Counter[str] = Counter()

    def seen(self, snapshot: Snapshot, now: float) -> None:
        """Take note of one snapshot."""
        if snapshot.stale:
            self.failures[_reason(snapshot.stale)] += 1
        else:
            self.updates += 1
            self.changed = now
        if bool(snapshot.stale) != bool(self.stale) or not self.answered:
            self.since = now
        self.stale = snapshot.stale
        self.answered = self.answered or not snapshot.stale

    def last_success(self, now: float) -> float:
        """When the registry last spoke well of itself: a watch that is silent and not stale still stands.

        Zero before the first answer.
        """
        if not self.answered:
            return 0.0
        return self.since if self.stale else now

    def __repr__(self) -> str:
        state = f"stale: {self.stale}" if self.stale else "good" if self.answered else "not answered yet"
        return f"<RegistryState {self.url} {state}>"
