"""What an answer of a registry may change (pure): fail static.

An error, a sudden emptiness or an answer from a server without a leader is a hypothesis, never an order:
the last good set stays, marked stale, and the gateway's own probes decide (RELIABILITY, promises of Consul's clients).
"""

from __future__ import annotations

from collections.abc import Collection

from discovery.instance import Instance, Snapshot, Status


class Trust:
    """The last good set, and the snapshot that each kind of answer leads to."""

    def __init__(self) -> None:
        self._good: frozenset[Instance] = frozenset()

    def answered(self, instances: frozenset[Instance], departed: Collection[str] = ()) -> Snapshot:
        """A good answer. Emptiness is believed only where nobody is lost by it.

        Not lost are those who had said goodbye (maintenance) and the ids in `departed`, whose end is known otherwise.
        """
        lost = frozenset(one for one in self._good if one.status is not Status.MAINTENANCE and one.id not in departed)
        if lost and not instances:
            self._good = lost
            return Snapshot(instances=lost, stale=f"the registry suddenly lists nobody; keeping the last {len(lost)}")
        self._good = instances
        return Snapshot(instances=instances)

    def failed(self, why: str) -> Snapshot:
        """No answer at all."""
        return Snapshot(instances=self._good, stale=why)

    def doubtful(self, instances: frozenset[Instance], why: str) -> Snapshot:
        """An answer not to be believed; better than nothing only as long as there is nothing."""
        return Snapshot(instances=self._good or instances, stale=why)
