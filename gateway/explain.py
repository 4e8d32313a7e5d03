"""Writes a decision down, with the candidates it was taken from."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING

from gateway.decision import Candidate, Decision

if TYPE_CHECKING:
    from gateway.backend import Backend
    from gateway.lease import Lease
    from gateway.peers import Peers
    from gateway.ticket import Ticket

SHOWN = 8  # a header has its limits


def explain(policy: str, groups: tuple[Peers, ...], lease: Lease) -> Decision:
    """Why this lease. `groups` are the peers whose nodes are shown as they are now; none, to be brief."""
    ticket, now = lease.ticket, lease.claimed
    nodes = [node for peers in groups for node in peers]
    best = nsmallest(SHOWN, nodes, key=lambda node: _finish(node, ticket, now))
    return Decision(
        pixels=ticket.pixels,
        image_format=ticket.image_format,
        body_bytes=ticket.body_bytes,
        predicted_ms=round(ticket.cost_ms, 2),
        size_class="heavy" if ticket.heavy else "light",
        class_why=ticket.why,
        policy=policy,
        winner=lease.backend.id,
        pool=lease.backend.pool,
        note=lease.note,
        wait_ms=round(max(0.0, now - ticket.arrival) * 1e3, 2),
        starts_ms=round((lease.starts - now) * 1e3, 2),
        finish_ms=round((lease.finish - now) * 1e3, 2),
        attempt=ticket.attempts,
        tried=sorted(ticket.tried),
        candidates=[_candidate(node, ticket, now) for node in best],
        considered=len(nodes),
    )


def _finish(node: Backend, ticket: Ticket, now: float) -> float:
    return node.free_in(now) + ticket.cost_ms * node.next_ms + node.lag


def _candidate(node: Backend, ticket: Ticket, now: float) -> Candidate:
    return Candidate(
        node=node.id,
        pool=node.pool,
        in_flight=node.in_flight,
        free_ms=round(node.free_in(now) * 1e3, 2),
        finish_ms=round(_finish(node, ticket, now) * 1e3, 2),
        speed=round(node.speed, 3),
    )
