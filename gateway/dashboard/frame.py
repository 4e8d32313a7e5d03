"""Puts the document together from what fleet, queue, journal and registry say at one moment. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.balancing import POLICIES
from gateway.config import Routing
from gateway.dashboard.document import LastError, Node, Pool, Registry, Rules
from gateway.journal import Journal
from gateway.outcome import Outcome
from gateway.registry_state import RegistryState
from gateway.view import BackendView

POOLS = ("light", "heavy")


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in the queue for one size class."""

    count: int = 0
    work_ms: float = 0.0
    oldest_seconds: float = 0.0


def nodes_of(views: Sequence[BackendView], journal: Journal, at: float) -> list[Node]:
    """The rows of the node table; `at` is the wall clock."""
    counts = journal.by_node()
    total = counts.total() or 1
    return [_node(view, counts[view.id], total, journal.last_errors.get(view.id), at) for view in views]


def _node(view: BackendView, requests: int, total: int, lost: Outcome | None, at: float) -> Node:
    return Node(
        id=view.id,
        address=view.address,
        pool=view.pool,
        state=view.state,
        usable=view.usable,
        for_seconds=round(view.since_seconds, 1),
        why=_why(view),
        registry=view.registry,
        probe=view.probe,
        models=view.models,
        slots=view.capacity,
        in_flight=view.in_flight,
        sent_ahead=view.sent_ahead,
        others=view.others,
        gateways=view.gateways,
        work_ms=round(view.work_ms, 1),
        free_ms=round(view.free_ms, 1),
        speed=round(view.speed, 3),
        weight=view.weight,
        service_ms=round(view.service_ms, 1) or None,
        requests=requests,
        share=round(requests / total, 4),
        error_share=round(view.error_share, 4),
        attempts=view.requests,
        errors=view.errors,
        ejections=view.ejections,
        max_pixels=view.max_pixels,
        device=view.device,
        last_error=_last_error(view, lost, at),
    )


def _why(view: BackendView) -> str:
    if view.weight == 0:
        return "its weight is 0"
    if view.state == "healthy" and view.probe == "unknown":
        return f"{view.why}, not probed yet"
    return view.why


def _last_error(view: BackendView, lost: Outcome | None, at: float) -> LastError | None:
    """The fleet knows every lost attempt, the journal only requests that were lost for good, but those in full."""
    if not view.last_error:
        return None
    when = at - view.last_error_seconds
    known = lost is not None and lost.at >= when - 1.0
    return LastError(
        at=round(when, 1),
        code=view.last_error,
        detail=lost.detail if lost and known else "",
        request_id=lost.request_id if lost and known else "",
    )


def pools_of(nodes: Iterable[Node], waiting: Mapping[str, Waiting], routing: Routing) -> list[Pool]:
    """Both pools, whether or not anybody is in them."""
    by_pool: dict[str, list[Node]] = {name: [] for name in POOLS}
    for node in nodes:
        by_pool.setdefault(node.pool, []).append(node)
    return [
        _pool(name, members, waiting.get(name, Waiting()), _spill(name, by_pool, routing))
        for name, members in by_pool.items()
    ]


def _pool(name: str, nodes: list[Node], waiting: Waiting, spill: str) -> Pool:
    usable = [node for node in nodes if node.usable]
    capacity = sum(node.slots for node in usable)
    power = sum(node.slots * node.speed * node.weight for node in usable)
    return Pool(
        name=name,
        nodes=len(nodes),
        usable=len(usable),
        capacity=capacity,
        in_flight=sum(node.in_flight for node in nodes),
        busy=sum(node.in_flight - node.sent_ahead for node in nodes),
        work_seconds=round(sum(node.work_ms for node in usable) / 1000 / power, 3) if power else 0.0,
        queued=waiting.count,
        queued_seconds=round(waiting.work_ms / 1000, 3),
        oldest_wait_seconds=round(waiting.oldest_seconds, 2),
        states=dict(Counter("switched off" if node.weight == 0 else node.state for node in nodes)),
        spill=spill,
    )


def _spill(name: str, by_pool: Mapping[str, list[Node]], routing: Routing) -> str:
    other = "heavy" if name == "light" else "light"
    there = any(node.usable for node in by_pool[other])
    here = any(node.usable for node in by_pool[name])
    work = "oversized images" if name == "heavy" else "ordinary images"
    allowed = routing.spill_heavy_to_light if name == "heavy" else routing.spill_light_to_heavy
    if not there or not allowed:
        return f"{work} stay here" if here else f"{work} are refused"
    if not here:
        return f"{work} go to {other} nodes"
    return f"{work} may spill to {other} nodes"


def targets_of(routing: Routing) -> dict[str, float]:
    """Milliseconds by size class that latency is judged by; 0: none."""
    return {"light": routing.slo_light_ms, "heavy": routing.slo_heavy_ms}


def rules_of(routing: Routing) -> Rules:
    """What can be changed at run time, as it is now."""
    return Rules(
        policy=routing.policy,
        policies=sorted(POLICIES),
        oversize_pixels=routing.oversize_pixels,
        oversize_ms=routing.oversize_ms,
        adaptive=routing.oversize_adaptive,
    )


def registry_of(state: RegistryState, at: float) -> Registry:
    """How old the list of nodes is."""
    return Registry(
        url=state.url,
        answered=state.answered,
        stale=state.stale,
        for_seconds=round(max(0.0, at - state.since), 1) if state.since else 0.0,
        updates=state.updates,
        failures=state.failures.total(),
    )
