"""How a request is refused: the row of the error table, the reason, and when to come back."""

from __future__ import annotations

from math import ceil, inf
from random import Random
from typing import TYPE_CHECKING

from gateway.shelves import populated
from wire.errors import Hopeless, NoNode, NotFound, QueueFull, TooLarge, WireError

if TYPE_CHECKING:
    from gateway.fleet import Fleet
    from gateway.queue import Lane, Queue
    from gateway.ticket import Ticket

LONGEST = 60  # seconds; longer promises are guesses
RESTART = 2.0  # seconds until a node that restarts is usually back


class Refusals:
    """Words errors. Retry-After is computed from what is before a newcomer, and spread by chance."""

    def __init__(self, fleet: Fleet, queue: Queue, rng: Random) -> None:
        self._fleet = fleet
        self._queue = queue
        self._rng = rng
        self.counts: dict[str, int] = {}  # by error code

    def unreachable(self, ticket: Ticket) -> WireError:
        """No known node can take it: 404, 413, or 503 if that may change."""
        fleet = self._fleet
        name = ticket.model or fleet.default_model
        if fleet.servable(ticket.model, ticket.version) == "unknown_model":
            version = f" version {ticket.version}" if ticket.version else ""
            return NotFound(f"No node serves model {name}{version}")
        limit = fleet.max_pixels(ticket.model, ticket.version)
        if fleet.backends and ticket.pixels > limit:
            return TooLarge(f"{ticket.pixels} pixels; the largest node takes {limit}", max_pixels=limit)
        return NoNode("No node that serves this is known now", headers=self._retry_after(RESTART))

    def no_node(self, ticket: Ticket, lane: Lane, now: float) -> NoNode:
        """Nobody usable may take it."""
        if lane.tried and populated(lane.everywhere):
            return NoNode("Every usable node was tried", headers=self._retry_after(1.0))
        wait = min(self._fleet.next_verdict - now, 2.0 * self._fleet.health.probe_interval)
        kind = "heavy" if ticket.heavy else "light"
        return NoNode(f"No usable node for {kind} work", headers=self._retry_after(wait))

    def full(self, lane: Lane) -> QueueFull:
        """No place to wait."""
        headers = self._retry_after(self._drain_time(lane))
        return QueueFull(f"{len(self._queue)} requests wait already", headers=headers)

    def hopeless(self, lane: Lane, ticket: Ticket, now: float) -> Hopeless:
        """It would be too late."""
        budget = max(0.0, ticket.deadline - ticket.arrival)
        waited = max(0.0, now - ticket.arrival)
        return Hopeless(
            f"Cannot be answered within {budget:.3g} s: waited {waited:.3g} s, "
            f"about {ticket.cost_ms:.0f} ms of work on a node of speed 1",
            headers=self._retry_after(self._drain_time(lane)),
        )

    def count(self, error: WireError) -> None:
        """Keep the number of refusals by code."""
        self.counts[error.code] = self.counts.get(error.code, 0) + 1

    def _drain_time(self, lane: Lane) -> float:
        """Seconds until what is before a newcomer of this kind will be done."""
        tally = self._queue.heavy if lane.heavy else self._queue.light
        power = sum(peers.power for peers in lane.everywhere)
        left_ms = tally.work_ms + sum(peers.left_ms for peers in lane.everywhere)
        return left_ms / power if power > 1e-9 else inf

    def _retry_after(self, seconds: float) -> dict[str, str]:
        """Whole seconds, at least one; spread by chance so that the refused do not return together."""
        spread = seconds * (1.0 + 0.5 * self._rng.random())
        return {"Retry-After": str(max(1, ceil(min(spread, LONGEST))))}
