"""What this gateway has asked nodes that serve others too, and what came of it (pure; the lines travel elsewhere).

A lease that must be asked for is claimed at once, so that nothing else here aims at the same slot, and sent only when
the node says yes. Told no, or nothing in time, its request looks for a slot anew, with its old place in the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wire.grants import Ask, Asking, Drop, No, Yes, label

if TYPE_CHECKING:
    from gateway.lease import Lease

PATIENCE = 0.25  # seconds for an answer; a node takes a few milliseconds, and one that takes longer will not be faster


class Grants:
    """Asks under way. Times are seconds on the caller's clock."""

    def __init__(self, gateway: str, send: Callable[[str, Asking], bool]) -> None:
        """`send` brings a line to a node; false when it has no stream now."""
        self.gateway = gateway
        self.counts = {"yes": 0, "no": 0, "lost": 0}  # asks by what came of them
        self._send = send
        self._number = 0
        self._open: dict[tuple[str, int], tuple[Lease, float]] = {}

    def __repr__(self) -> str:
        return f"<Grants {len(self._open)} asked {self.counts}>"

    @property
    def open(self) -> int:
        """Asks without an answer."""
        return len(self._open)

    def ask(self, lease: Lease, now: float) -> bool:
        """Ask for a lease; false when there is nobody to ask, which counts as no."""
        self._number += 1
        lease.grant = self._number
        ticket, backend = lease.ticket, lease.backend
        age_ms, cost_ms = (now - ticket.key) * 1e3, ticket.cost_ms * backend.per_ms * 1e3
        if not self._send(backend.id, Ask(lease.grant, age_ms, cost_ms, ticket.heavy)):
            self.counts["lost"] += 1
            return False
        self._open[backend.id, lease.grant] = lease, now
        return True

    def answered(self, node: str, said: Yes | No) -> Lease | None:
        """The lease that a node's answer is about; None when nobody waits for it any more."""
        found = self._open.pop((node, said.number), None)
        if found is None:
            if isinstance(said, Yes):
                self._send(node, Drop(said.number))
            return None
        self.counts["yes" if isinstance(said, Yes) else "no"] += 1
        return found[0]

    def drop(self, lease: Lease) -> None:
        """A lease that was asked for is not needed any more, or its request ended before it was sent."""
        self._open.pop((lease.backend.id, lease.grant), None)
        self._send(lease.backend.id, Drop(lease.grant))

    def lost(self, node: str) -> list[Lease]:
        """A node's stream is gone: the leases that it was asked for."""
        return self._give_up([key for key in self._open if key[0] == node])

    def overdue(self, now: float) -> list[Lease]:
        """The leases that nodes have not answered in time; a late yes is given back."""
        late = [key for key, (_, since) in self._open.items() if not since <= now < since + PATIENCE]
        for node, number in late:
            self._send(node, Drop(number))
        return self._give_up(late)

    def label(self, lease: Lease) -> str:
        """What a request says of itself to a node that serves others too."""
        backend, ticket = lease.backend, lease.ticket
        return label(self.gateway, lease.grant, ticket.cost_ms * backend.per_ms * 1e3, ticket.heavy)

    def _give_up(self, keys: list[tuple[str, int]]) -> list[Lease]:
        self.counts["lost"] += len(keys)
        return [self._open.pop(key)[0] for key in keys]
