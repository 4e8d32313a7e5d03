"""What the log says of a registry: once when it is lost, once when it is back, and never a flood."""

from __future__ import annotations

from logging import Logger

from discovery.instance import Snapshot

REFUSAL_SECONDS = 60.0


class ChangeNote:
    """One line when a registry stops being believed, one when it is again."""

    def __init__(self, log: Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._stale = ""

    def note(self, snapshot: Snapshot) -> None:
        """Compare with the last one; a mere change of the reason while it is lost goes to debug."""
        stale, self._stale = self._stale, snapshot.stale
        if snapshot.stale and not stale:
            count = len(snapshot.instances)
            self._log.warning("%s is lost, going on with %d known: %s", self._what, count, snapshot.stale)
        elif snapshot.stale and snapshot.stale != stale:
            self._log.debug("%s is still lost: %s", self._what, snapshot.stale)
        elif stale and not snapshot.stale:
            self._log.info("%s is back with %d instances", self._what, len(snapshot.instances))


class RefusalNote:
    """One line a minute at most about entries that cannot be read."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._next = float("-inf")

    def note(self, refused: list[str], now: float) -> None:
        """The first of them stands for all."""
        if refused and now >= self._next:
            self._next = now + REFUSAL_SECONDS
            self._log.warning("skipped %d unreadable entries of the registry; first: %s", len(refused), refused[0])
