"""Outcomes of made-up requests, with sensible defaults."""

from __future__ import annotations

from typing import Any

from gateway.outcome import Outcome


def outcome(**changes: Any) -> Outcome:
    """A small photo, answered by the node light-1 in 20 ms, unless told otherwise."""
    facts: dict[str, Any] = {
        "at": 1_700_000_000.0,
        "request_id": "r-1",
        "method": "POST",
        "route": "predict",
        "path": "/v1/predict",
        "status": 200,
        "model": "lite0",
        "size_class": "light",
        "pool": "light",
        "node": "light-1",
        "attempts": 1,
        "pixels": 480_000,
        "image_format": "jpeg",
        "body_bytes": 60_000,
        "answer_bytes": 300,
        "cost_ms": 18.0,
        "service_ms": 17.0,
        "recv_ms": 1.0,
        "queue_ms": 0.5,
        "connect_ms": 0.2,
        "total_ms": 20.0,
        "why": "pixels",
    }
    return Outcome(**{**facts, **changes})


def refused(**changes: Any) -> Outcome:
    """Turned away before any node had it: the queue was full."""
    facts = {"status": 503, "error": "queue-full", "detail": "The queue is full", "node": "", "pool": "", "attempts": 0}
    return outcome(**{**facts, **changes})


def failed(**changes: Any) -> Outcome:
    """Lost on its node."""
    facts = {"status": 502, "error": "node-garbage", "detail": "A node answered garbage"}
    return outcome(**{**facts, **changes})
