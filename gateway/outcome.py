"""How one request ended: written once, read by metrics, access log and the operator page."""

from __future__ import annotations

import msgspec

from gateway.decision import Decision
from gateway.traced import Traced


class Outcome(msgspec.Struct, kw_only=True):
    """One finished request. Durations are milliseconds."""

    at: float  # wall clock, seconds since the epoch
    request_id: str
    method: str
    route: str  # bounded: predict, infer, tfs, metadata, health, other
    path: str
    status: int
    error: str = ""  # code of wire/errors.py
    detail: str = ""
    model: str = ""
    size_class: str = ""  # light | heavy | "" when nothing was routed
    pool: str = ""  # pool of the node that answered
    node: str = ""
    attempts: int = 0
    retries: tuple[str, ...] = ()  # error codes of the attempts before the last
    pixels: int = 0
    image_format: str = ""
    body_bytes: int = 0
    answer_bytes: int = 0
    cost_ms: float = 0.0
    service_ms: float = 0.0  # what the node says it took, without its queue
    recv_ms: float = 0.0
    queue_ms: float = 0.0
    connect_ms: float = 0.0
    total_ms: float = 0.0
    client: str = ""
    trace_id: str = ""
    why: str = ""  # why this size class
    decision: Decision | None = None  # the explanation, when one was kept
    traced: Traced | None = None  # what its spans need, when its trace is written
    explain: bool = False  # the client asked for it
