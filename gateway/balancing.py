"""Which of several nodes: a policy is a function, and this is the table of them.

Every policy sees only nodes that may take the request now: usable, not tried before, with a slot free or about to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from gateway.backend import Backend

# nodes that may take it, its cost in ms at speed 1, now, chance
Policy = Callable[[Sequence[Backend], float, float, Random], Backend]


def random(nodes: Sequence[Backend], cost_ms: float, now: float, rng: Random) -> Backend:  # noqa: ARG001
    """Blind chance, weighted by announced speed."""
    return rng.choices(nodes, [_strength(node) for node in nodes])[0]


def round_robin(nodes: Sequence[Backend], cost_ms: float, now: float, rng: Random) -> Backend:  # noqa: ARG001
    """In turn, weighted by announced speed: the earliest virtual deadline goes next (EDF, as Envoy and nginx)."""
    node = min(nodes, key=lambda each: (each.turn, each.serial))
    # Whoever was away does not catch up on turns that it missed.
    floor = max(each.turn for each in nodes) - max(1.0 / _strength(each) for each in nodes)
    node.turn = max(node.turn, floor) + 1.0 / _strength(node)
    return node


def least_connections(nodes: Sequence[Backend], cost_ms: float, now: float, rng: Random) -> Backend:  # noqa: ARG001
    """Fewest in flight for its announced speed (HAProxy leastconn); chance among equals."""
    return min(nodes, key=lambda each: (_crowd(each), rng.random()))


def p2c(nodes: Sequence[Backend], cost_ms: float, now: float, rng: Random) -> Backend:
    """The earlier finish of two distinct nodes drawn by chance: does not herd when several gateways see the same."""
    if len(nodes) > 2:
        nodes = rng.sample(nodes, 2)
    return earliest_finish(nodes, cost_ms, now, rng)


def p2c_connections(nodes: Sequence[Backend], cost_ms: float, now: float, rng: Random) -> Backend:
    """The less crowded of two distinct nodes drawn by chance (Envoy LEAST_REQUEST, Traefik p2c)."""
    if len(nodes) > 2:
        nodes = rng.sample(nodes, 2)
    return least_connections(nodes, cost_ms, now, rng)


def least_work(nodes: Sequence[Backend], cost_ms: float, now: float, rng: Random) -> Backend:  # noqa: ARG001
    """The node that is free soonest, whatever its speed."""
    return min(nodes, key=lambda each: (each.free_in(now) + each.lag, rng.random()))


def earliest_finish(nodes: Sequence[Backend], cost_ms: float, now: float, rng: Random) -> Backend:
    """The node that will have answered first: time until free, plus the work at its learned speed."""
    return min(nodes, key=lambda each: (each.free_in(now) + cost_ms * each.next_ms + each.lag, rng.random()))


POLICIES: Mapping[str, Policy] = {
    "random": random,
    "round_robin": round_robin,
    "least_connections": least_connections,
    "p2c": p2c,
    "p2c_connections": p2c_connections,
    "least_work": least_work,
    "earliest_finish": earliest_finish,
}


def _strength(node: Backend) -> float:
    return max(1e-6, node.nominal * node.weight)


def _crowd(node: Backend) -> float:
    return (max(node.in_flight, node.in_flight + node.foreign) + 1) / _strength(node)
