"""Writes a decision down, with the candidates it was taken from."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING

from gateway.decision import Candidate, Decision

if TYPE_CHECKING:
    from gateway.backend import Backend
    from gateway.peers import Peers
    from gateway.placement import Pick
    from gateway.ticket import Ticket

SHOWN = 8  # a header has its limits


def explain(policy: str, groups: tuple[Peers, ...], ticket: Ticket, pick: Pick, now: float) -> Decision:
    """The decision to give the ticket this pick. `groups` are the peers to show; none, to be brief."""
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
        winner=pick.backend.id,
        pool=pick.backend.pool,
        note=pick.note,
        wait_ms=round(max(0.0, now - ticket.arrival) * 1e3, 2),
        starts_ms=round((pick.starts - now) * 1e3, 2),
        finish_ms=round((pick.finish - now) * 1e3, 2),
        attempt=ticket.attempts,
        tried=sorted(ticket.tried),
        candidates=[_candidate(node, ticket, now) for node in best],
        considered=len(nodes),
    )


def _finish(node: Backend, ticket: Ticket, now: float) -> float:
    return node.free_in(now) + ticket.cost_ms * node.per_ms + node.lag


def _candidate(node: Backend, ticket: Ticket, now: float) -> Candidate:
    return Candidate(
        node=node.id,
        pool=node.pool,
        in_flight=node.in_flight,
        free_ms=round(node.free_in(now) * 1e3, 2),
        finish_ms=round(_finish(node, ticket, now) * 1e3, 2),
        speed=round(node.speed, 3),
    )
