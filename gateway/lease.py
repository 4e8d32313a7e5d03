"""A slot claimed on one node for one attempt: ends exactly once, and says how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.backend import Backend
    from gateway.decision import Decision
    from gateway.ticket import Ticket


class Keeper(Protocol):
    """Who counts leases: told of every ending."""

    def ended(self, lease: Lease, now: float) -> None:
        """Give the slot back. Whatever the node taught has been learned before."""
        ...

    def taught(self, lease: Lease, now: float, service_ms: float | None) -> None:
        """Learn from an answer."""
        ...

    def denied(self, lease: Lease, now: float) -> None:
        """Note that slots are scarce; nothing was tried."""
        ...

    def blamed(self, lease: Lease, now: float, error_code: str) -> None:
        """Count a failure against the node."""
        ...

    def refused(self, lease: Lease, now: float) -> None:
        """Note that the node has more to do than we knew."""
        ...

    def explained(self, lease: Lease) -> Decision:
        """The reasons, rebuilt from what the lease remembers."""
        ...


class Lease:
    """Ends by exactly one of succeeded, failed, busy, abandoned; a second ending raises RuntimeError.

    Times are seconds on the caller's clock. `starts` and `finish` are predictions made when it was claimed; `began`
    is when the node was free for it as far as we can see (None while an earlier lease is in its way).
    """

    __slots__ = (
        "_decision", "_keeper", "ask", "backend", "began", "claimed", "ending", "ends", "finish", "grant", "note",
        "starts", "ticket",
    )  # fmt: skip

    def __init__(
        self, keeper: Keeper, ticket: Ticket, now: float, backend: Backend, starts: float, finish: float, note: str
    ) -> None:
        self._keeper = keeper
        self._decision: Decision | None = None
        self.backend = backend
        self.ticket = ticket
        self.claimed = now
        self.starts = starts
        self.finish = finish
        self.began: float | None = None
        self.ends = 0.0
        self.note = note  # why outside the pool that its size class prefers; empty inside
        self.ask = False  # the node serves other gateways too and must say yes first
        self.grant = 0  # the number by which it was asked
        self.ending = ""

    def __repr__(self) -> str:
        return f"<Lease {self.ticket.request_id} on {self.backend.id} {self.ending or 'held'}>"

    @property
    def decision(self) -> Decision:
        """Why this node. With all candidates only when the ticket asked for it, since that costs time."""
        if self._decision is None:
            self._decision = self._keeper.explained(self)
        return self._decision

    @decision.setter
    def decision(self, value: Decision) -> None:
        self._decision = value

    def succeeded(self, now: float, service_ms: float | None = None) -> None:
        """The node answered. `service_ms` is its own word for the work, without its queue; None if it said nothing."""
        self._end("succeeded")
        self._keeper.taught(self, now, service_ms)
        self._keeper.ended(self, now)

    def failed(self, now: float, error_code: str) -> None:
        """The node is to blame; `error_code` is a code of wire/errors.py. Teaches nothing about speed."""
        self._end("failed")
        self._keeper.blamed(self, now, error_code)
        self._keeper.ended(self, now)

    def busy(self, now: float) -> None:
        """The node refused before reading the body. Nobody is to blame, but it has more to do than we knew."""
        self._end("busy")
        self._keeper.refused(self, now)
        self._keeper.ended(self, now)

    def denied(self, now: float) -> None:
        """The node, asked before anything was sent, has given its place to somebody more urgent."""
        self._end("denied")
        self._keeper.denied(self, now)
        self._keeper.ended(self, now)

    def abandoned(self, now: float) -> None:
        """The client hung up, or we did: nobody's fault."""
        self._end("abandoned")
        self._keeper.ended(self, now)

    def _end(self, how: str) -> None:
        if self.ending:
            raise RuntimeError(f"{self!r} ended before")
        self.ending = how
