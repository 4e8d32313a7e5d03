"""The documents of several workers as one. Pure.

What each has is added up. Where they disagree about a node, the worst opinion is shown, with how many hold it; a node
counts as usable while anyone uses it. Workers that are leaving count in what is added up and have no opinion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from gateway.dashboard.document import Document, Node, Verdict
from gateway.dashboard.frame import Waiting
from gateway.dashboard.verdict import LEVELS
from gateway.registry_state import RegistryState
from gateway.workers.told import Registry

# From good to worst.
STATES = ("healthy", "unlisted", "degraded", "draining", "ejected", "critical")
PROBES = ("passed", "unknown", "failed")


def nodes(serving: Sequence[Document], leaving: Sequence[Document]) -> list[Node]:
    """The node table."""
    opinions: dict[str, list[Node]] = {}
    for document in serving:
        for node in document.nodes:
            opinions.setdefault(node.id, []).append(node)
    also: dict[str, list[Node]] = {}
    for document in leaving:
        for node in document.nodes:
            also.setdefault(node.id, []).append(node)
    rows = [_node(seen, also.get(name, []), len(serving)) for name, seen in opinions.items()]
    total = sum(row.requests for row in rows) or 1
    return [replace(row, share=round(row.requests / total, 4)) for row in rows]


def _node(seen: list[Node], leaving: list[Node], workers: int) -> Node:
    worst = max(seen, key=lambda node: _rank(STATES, node.state))
    alike = sum(node.state == worst.state for node in seen)
    all_of = [*seen, *leaving]
    in_flight = sum(node.in_flight for node in all_of)
    # To each worker its siblings are "others" at the node: what the node says it holds is seen once.
    others = max(node.in_flight + node.others for node in all_of) - in_flight
    errors = [node.last_error for node in all_of if node.last_error is not None]
    service = [node for node in seen if node.service_ms is not None]
    return replace(
        worst,
        usable=any(node.usable for node in seen),
        why=worst.why if alike == workers else f"{worst.why} (in {alike} of {workers} workers)".strip(),
        probe=max((node.probe for node in seen), key=lambda probe: _rank(PROBES, probe)),
        in_flight=in_flight,
        sent_ahead=sum(node.sent_ahead for node in all_of),
        others=max(0, others),
        work_ms=round(sum(node.work_ms for node in all_of), 1),
        free_ms=max(node.free_ms for node in all_of),
        speed=round(_mean(seen, lambda node: node.speed), 3),
        weight=min(node.weight for node in seen),
        service_ms=round(_mean(service, lambda node: node.service_ms or 0.0), 1) if service else None,
        requests=sum(node.requests for node in all_of),
        error_share=round(_mean(seen, lambda node: node.error_share), 4),
        attempts=sum(node.attempts for node in all_of),
        errors=sum(node.errors for node in all_of),
        ejections=max(node.ejections for node in seen),
        last_error=max(errors, key=lambda error: error.at, default=None),
    )


def _rank(order: Sequence[str], word: str) -> int:
    return order.index(word) if word in order else len(order)


def _mean(rows: Sequence[Node], value: Callable[[Node], float]) -> float:
    """By requests of the last minute: who sent a node nothing knows nothing of it."""
    weights = [row.requests for row in rows]
    if not any(weights):
        weights = [1] * len(rows)
    return sum(value(row) * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)


def waiting(documents: Iterable[Document]) -> dict[str, Waiting]:
    """All queues as one, by size class."""
    merged: dict[str, Waiting] = {}
    for document in documents:
        for pool in document.pools:
            before = merged.get(pool.name, Waiting())
            merged[pool.name] = Waiting(
                count=before.count + pool.queued,
                work_ms=before.work_ms + pool.queued_seconds * 1000,
                oldest_seconds=max(before.oldest_seconds, pool.oldest_wait_seconds),
            )
    return merged


def registry(told: Sequence[Registry], state: RegistryState) -> None:
    """Set `state` to the worst of what workers say, and its counts to the most that any has counted."""
    if not told:
        return
    worst = max(told, key=lambda one: (not one.answered, bool(one.stale), one.since))
    state.answered, state.stale, state.since = worst.answered, worst.stale, worst.since
    state.changed = max(one.changed for one in told)
    state.updates = max(one.updates for one in told)
    state.failures = Counter(max(told, key=lambda one: sum(one.failures.values())).failures)


def prediction_errors(told: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean over the workers that know the model."""
    models = {model for errors in told for model in errors}
    known = {model: [errors[model] for errors in told if model in errors] for model in models}
    return {model: sum(errors) / len(errors) for model, errors in known.items()}


def verdict(own: Verdict, opinions: Sequence[Verdict], wanted: int) -> Verdict:
    """The worst of what is seen in all together and of what each worker says. `wanted` workers ought to serve."""
    level, notes = own.level, list(own.notes)
    if not opinions:
        return Verdict(level="down", text="Down. No worker process serves.", notes=["No worker process serves"])
    worst = max(opinions, key=lambda opinion: LEVELS.index(opinion.level))
    if LEVELS.index(worst.level) > LEVELS.index(level):
        level = worst.level
        alike = sum(opinion.level == level for opinion in opinions)
        notes.append(f"In {alike} of {len(opinions)} workers: {'. '.join(worst.notes)}")
    if missing := wanted - len(opinions):
        level = max(level, "degraded", key=LEVELS.index)
        notes.append(f"{missing} of {wanted} worker processes {'does' if missing == 1 else 'do'} not serve")
    head = "Down" if level == "down" else "Serving"
    return Verdict(level=level, text=". ".join([head, *notes]) + ".", notes=notes)
