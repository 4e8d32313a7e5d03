"""Which nodes may be used at all: the healthy; without them the degraded; in need those merely suspected."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.backend import Backend
from gateway.catalogue import names
from gateway.standing import WELCOME, State


def choose(backends: Iterable[Backend], panic_share: float) -> tuple[set[str], bool]:
    """The ids of usable nodes, and whether this is panic: fewer than `panic_share` of those not leaving are sound.

    In panic, and for a model that nobody else serves, ejections for failures are ignored, and so is a critical check
    of a node that passes our own probes. By name and not by version: a new version that fails must not be saved by
    being the only one of its kind.
    """
    staying = [each for each in backends if each.standing.state is not State.DRAINING]
    healthy = [each for each in staying if each.standing.state in WELCOME]
    served = {(each.pool, each.instance.models) for each in healthy}
    degraded = [each for each in staying if each.standing.state is State.DEGRADED]
    chosen = healthy + [each for each in degraded if (each.pool, each.instance.models) not in served]
    panic = bool(staying) and len(healthy) + len(degraded) < panic_share * len(staying)
    named = {name for each in chosen for name in names(each.instance.models)}
    for each in staying:
        if each.standing.spare and (panic or named.isdisjoint(names(each.instance.models))):
            chosen.append(each)
    return {each.id for each in chosen if each.weight > 0.0}, panic


def may_eject(backends: Iterable[Backend], most: float) -> bool:
    """Whether one more may go: at most this share of those not leaving, but always one."""
    staying = [each for each in backends if each.standing.state is not State.DRAINING]
    out = sum(each.standing.state is State.EJECTED for each in staying)
    return out < max(1, int(most * len(staying)))
