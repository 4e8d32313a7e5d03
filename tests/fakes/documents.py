"""Parts of the operators' document, made up with sensible defaults."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.dashboard.document import Node, Pool, Registry
from gateway.windows import Quantiles, Window

NOTHING = Quantiles(count=0, p50=None, p95=None, p99=None)
GOOD = Registry(url="dir:var", answered=True, stale="", for_seconds=60, updates=3, failures=0)


def node(name: str, pool: str = "light", state: str = "healthy", **changes: Any) -> Node:
    """A node without work."""
    facts: dict[str, Any] = {
        "id": name,
        "address": "127.0.0.1:9000",
        "pool": pool,
        "state": state,
        "usable": state in {"healthy", "unlisted"},
        "for_seconds": 10.0,
        "why": "",
        "registry": "passing",
        "probe": "passed",
        "models": ("lite0@1",),
        "slots": 2,
        "in_flight": 0,
        "sent_ahead": 0,
        "others": 0,
        "gateways": 1,
        "work_ms": 0.0,
        "free_ms": 0.0,
        "speed": 1.0,
        "weight": 1.0,
        "service_ms": None,
        "requests": 0,
        "share": 0.0,
        "error_share": 0.0,
        "attempts": 0,
        "errors": 0,
        "ejections": 0,
        "max_pixels": 50_000_000,
        "device": "cpu",
        "last_error": None,
    }
    return Node(**{**facts, **changes})


def pool(name: str, nodes: list[Node], **changes: Any) -> Pool:
    """The pool of that name with those of the nodes that are in it."""
    members = [each for each in nodes if each.pool == name]
    facts: dict[str, Any] = {
        "name": name,
        "nodes": len(members),
        "usable": sum(each.usable for each in members),
        "capacity": 0,
        "in_flight": 0,
        "busy": 0,
        "work_seconds": 0.0,
        "queued": 0,
        "queued_seconds": 0.0,
        "oldest_wait_seconds": 0.0,
        "states": dict(Counter(each.state for each in members)),
        "spill": "oversized images go to light nodes",
    }
    return Pool(**{**facts, **changes})


def window(ok: int = 100, errors: int = 0, refused: int = 0, light: Quantiles = NOTHING) -> Window:
    """Ten seconds."""
    requests = ok + errors + refused
    return Window(
        seconds=10.0,
        requests=requests,
        per_second=requests / 10,
        ok=ok,
        errors=errors,
        refused=refused,
        client=0,
        gone=0,
        light_spilled=0,
        heavy_spilled=0,
        light=light,
        heavy=NOTHING,
    )
