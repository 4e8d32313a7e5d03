"""What changed between two looks at the fleet, as events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gateway.dashboard.document import BROKEN, Node, Registry
from gateway.journal import Event

# A fleet that is seen for the first time is one event, not two hundred.
_FIRST_LOOK = "start"
LOST = "lost"


class Look(msgspec.Struct, frozen=True):
    """What is compared."""

    nodes: Mapping[str, Node]
    registry_stale: str

    @classmethod
    def at(cls, nodes: Iterable[Node], registry: Registry) -> Look:
        """A look at the fleet now."""
        return cls({node.id: node for node in nodes}, registry.stale)


def changes(before: Look | None, after: Look, at: float) -> Iterator[Event]:
    """The events between two looks; `at` is the wall clock."""
    if before is None:
        text = f"Watching {len(after.nodes)} node{'' if len(after.nodes) == 1 else 's'}"
        yield Event(at=at, kind=_FIRST_LOOK, subject="fleet", text=text)
        return
    yield from _registry(before.registry_stale, after.registry_stale, at)
    for node in after.nodes.values():
        earlier = before.nodes.get(node.id)
        if earlier is None:
            text = f"joined the {node.pool} pool with {', '.join(node.models) or 'no model'}"
            reason = "" if node.state == "healthy" else node.why
            yield Event(at=at, kind="joined", subject=node.id, text=text, reason=reason)
        else:
            yield from _node(earlier, node, at)
    for gone in before.nodes.keys() - after.nodes.keys():
        last = before.nodes[gone]
        # Whoever leaves says so first; who was failing and then vanished did not leave.
        kind, verb = (LOST, "was lost from") if last.state in BROKEN else ("left", "left")
        yield Event(at=at, kind=kind, subject=gone, text=f"{verb} the {last.pool} pool", reason=last.why)


def lost(events: Iterable[Event], nodes: Iterable[Node], since: float) -> list[str]:
    """Ids of nodes that were lost after `since` and have not come back."""
    present = {node.id for node in nodes}
    gone = {event.subject for event in events if event.kind == LOST and event.at >= since}
    return sorted(gone - present)


def _registry(before: str, after: str, at: float) -> Iterator[Event]:
    if after and not before:
        yield Event(
            at=at, kind="registry", subject="registry", text="lost; the last known nodes are kept", reason=after
        )
    elif before and not after:
        yield Event(at=at, kind="registry", subject="registry", text="found again", reason=f"was: {before}")


def _node(before: Node, after: Node, at: float) -> Iterator[Event]:
    if before.state != after.state:
        yield Event(at=at, kind=after.state, subject=after.id, text=f"{before.state} → {after.state}", reason=after.why)
    if before.models != after.models:
        text = f"serves {', '.join(after.models) or 'nothing'}"
        yield Event(at=at, kind="version", subject=after.id, text=text, reason=f"was {', '.join(before.models)}")
