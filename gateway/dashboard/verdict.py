"""Can we serve, and if not, why: one sentence an operator understands in five seconds. Pure.

Running processes are not the question: without a node that may be given requests, or when nothing at all succeeds,
the answer is no.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gateway.dashboard.document import BROKEN, Node, Pool, Registry, Verdict
from gateway.windows import Window

LEVELS = ("ok", "degraded", "down")
# Fewer failures than this in ten seconds may be chance; from here on a good share counts.
FEW = 5
ERROR_SHARE = 0.01
LONG_WAIT_SECONDS = 5.0
# Latency speaks for itself from so many answers on, and is worth a word when it is so many times its target.
MANY = 20
FAR_ABOVE = 4.0
NO_TARGETS: Mapping[str, float] = {}

# Served from, but the registry has its doubts: a warning, or it no longer lists them.
DOUBTED = frozenset({"degraded", "unlisted"})

Note = tuple[str, str]  # level, sentence without its full stop


def judge(
    pools: Sequence[Pool],
    nodes: Sequence[Node],
    registry: Registry,
    window: Window,
    *,
    draining: bool = False,
    lost: Sequence[str] = (),
    targets: Mapping[str, float] = NO_TARGETS,
) -> Verdict:
    """`window` is the last ten seconds; `lost` are nodes that vanished lately without a goodbye.

    `targets` are milliseconds by size class; 0 is none.
    """
    notes = list(
        _down(nodes, registry, window, draining, lost)
        or [
            *_lost_notes(lost),
            *_pool_notes(pools),
            *_suspect_notes(nodes),
            *_model_notes(nodes),
            *_traffic_notes(pools, window),
            *_slow_notes(window, targets),
            *_registry_notes(registry),
        ]
    )
    level = max((level for level, _ in notes), key=LEVELS.index, default="ok")
    said = [sentence for _, sentence in notes]
    if level == "ok":
        said.insert(0, f"All {_count(nodes)} healthy" if len(nodes) > 1 else "The only node is healthy")
    head = "Down" if level == "down" else "Serving"
    return Verdict(level=level, text=". ".join([head, *said]) + ".", notes=said)


def _count(nodes: Sequence[Node]) -> str:
    resting = sum(node.state == "draining" for node in nodes)
    return f"{len(nodes) - resting} nodes"


def _down(nodes: Sequence[Node], registry: Registry, window: Window, draining: bool, lost: Sequence[str]) -> list[Note]:
    if draining:
        return [("down", "This gateway is leaving and takes nothing new")]
    if not nodes and not registry.answered:
        return [("down", f"The registry has not answered yet{_because(registry.stale)}")]
    if not nodes:
        missing = list(_lost_notes(lost)) or [("down", "No node has announced itself")]
        return [*(("down", sentence) for _, sentence in missing), *_registry_notes(registry)]
    if not any(node.usable for node in nodes):
        refused = [("down", f"{window.refused} refused in {window.seconds:.0f} s")] if window.refused else []
        return [("down", f"No node can serve: {_states(nodes)}"), *refused, *_registry_notes(registry)]
    if not window.ok and window.errors + window.refused >= FEW:
        failures = _spell((window.errors, "error"), (window.refused, "refusal"))
        return [("down", f"Nothing succeeded in {window.seconds:.0f} s: {failures}"), *_registry_notes(registry)]
    return []


def _pool_notes(pools: Sequence[Pool]) -> Iterator[Note]:
    for pool in pools:
        name = pool.name.capitalize()
        broken = {state: count for state, count in pool.states.items() if state in BROKEN}
        resting = pool.states.get("draining", 0)
        if not pool.nodes:
            yield "ok", f"No {pool.name} nodes: {pool.spill}"
        elif not pool.usable:
            yield "degraded", f"{name} pool down: {_of(pool.states, pool.nodes)}; {pool.spill}"
        elif broken:
            yield "degraded", f"{name} pool degraded: {_of(broken, pool.nodes)}"
        elif resting:
            yield "ok", f"{name} pool: {resting} of {pool.nodes} draining"
        doubted = {state: count for state, count in pool.states.items() if state in DOUBTED}
        if pool.usable and doubted:
            yield "degraded", f"{name} pool: {_of(doubted, pool.nodes)}"


def _of(states: dict[str, int], nodes: int) -> str:
    parts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    if len(states) == 1:
        (state, count) = next(iter(states.items()))
        return f"{count} of {nodes} {'node' if nodes == 1 else 'nodes'} {state}"
    return f"{parts} of {nodes} nodes"


def _states(nodes: Sequence[Node]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(node.state for node in nodes).items()))


def _lost_notes(lost: Sequence[str]) -> Iterator[Note]:
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        yield "degraded", f"Lost without a goodbye: {', '.join(lost[:3])}{more}"


def _suspect_notes(nodes: Sequence[Node]) -> Iterator[Note]:
    used = sum(node.usable and node.state in BROKEN for node in nodes)
    if used:
        yield "degraded", f"Too few others are left: {used} suspected {'node is' if used == 1 else 'nodes are'} used"


def _model_notes(nodes: Sequence[Node]) -> Iterator[Note]:
    known = {model for node in nodes for model in node.models if node.state != "draining"}
    served = {model for node in nodes if node.usable for model in node.models}
    if lost := sorted(known - served):
        yield "degraded", f"No node can serve {', '.join(lost[:3])}{' and others' if len(lost) > 3 else ''}"


def _traffic_notes(pools: Sequence[Pool], window: Window) -> Iterator[Note]:
    span = f"in {window.seconds:.0f} s"
    if window.errors:
        bad = window.errors >= FEW or window.error_share >= ERROR_SHARE
        yield ("degraded" if bad else "ok"), f"{_spell((window.errors, 'error'))} {span}"
    if window.refused:
        yield "degraded", f"{window.refused} refused {span}"
    oldest = max(pools, key=lambda pool: pool.oldest_wait_seconds, default=None)
    if oldest and oldest.oldest_wait_seconds >= LONG_WAIT_SECONDS:
        yield "degraded", f"{oldest.queued} {oldest.name} waiting, the oldest for {oldest.oldest_wait_seconds:.0f} s"


def _slow_notes(window: Window, targets: Mapping[str, float]) -> Iterator[Note]:
    for name, quantiles in (("light", window.light), ("heavy", window.heavy)):
        target, p95 = targets.get(name, 0.0), quantiles.p95 or 0.0
        if target and quantiles.count >= MANY and p95 > FAR_ABOVE * target:
            yield "degraded", f"Slow: {name} p95 is {_seconds(p95)}, the target {_seconds(target)}"


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.0f} ms"


def _registry_notes(registry: Registry) -> Iterator[Note]:
    if registry.stale:
        yield (
            "degraded",
            f"Registry lost {age(registry.for_seconds)} ago{_because(registry.stale)}; last known nodes kept",
        )


def _because(why: str) -> str:
    return f" ({why})" if why else ""


def _spell(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count)


def age(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min, 5 h, 2 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
