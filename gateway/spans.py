"""A traced request as spans: its whole, the upload, each wait for a slot, each attempt on a node (pure but for ids).

An observer: made from times that were measured anyway, after the answer is on its way. Names and attributes follow
OpenTelemetry's semantic conventions for HTTP; ours begin with `fleetgate.`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from gateway.outcome import Outcome
from gateway.traced import Hop, Traced
from tracing.span import Kind, Span, Value, filled, route_of

# A wait shorter than this is the time between two lines of code.
_SHORTEST_WAIT_SECONDS = 50e-6


class Spans:
    """Hands the spans of each traced request to `put`. The schemes are those that clients use, and that we use."""

    def __init__(self, put: Callable[[Iterable[Span]], None], scheme: str = "http", node_scheme: str = "http") -> None:
        self._put = put
        self._schemes = scheme, node_scheme

    def finished(self, outcome: Outcome) -> None:
        """Make the spans of one request, if it is traced."""
        if outcome.traced is not None:
            now = time.monotonic()
            self._put(spans(outcome, outcome.traced, now, time.time() - now, self._schemes))


class Piece(msgspec.Struct):
    """A part of a request's time, in monotonic seconds."""

    name: str
    start: float
    end: float
    hop: Hop | None = None


def spans(outcome: Outcome, traced: Traced, ended: float, epoch: float, schemes: tuple[str, str]) -> Iterator[Span]:
    """The spans. `ended` is monotonic seconds; `epoch` added to those makes seconds since 1970."""
    root = os.urandom(8).hex()
    began = ended - outcome.total_ms / 1000
    route = route_of(outcome.path, outcome.route)
    yield Span(
        name=f"{outcome.method} {route}".rstrip(),
        kind=Kind.SERVER,
        trace_id=outcome.trace_id,
        span_id=root,
        parent_id=traced.parent_id,
        start=round((epoch + began) * 1e9),
        end=round((epoch + ended) * 1e9),
        attributes=_request(outcome, route, schemes[0]),
        error=(outcome.detail or outcome.error) if outcome.status >= 500 else "",
    )
    for piece in pieces(outcome, traced, began, ended):
        hop = piece.hop
        yield Span(
            name=piece.name,
            kind=Kind.CLIENT if hop else Kind.INTERNAL,
            trace_id=outcome.trace_id,
            span_id=hop.span_id if hop else os.urandom(8).hex(),
            parent_id=root,
            start=round((epoch + piece.start) * 1e9),
            end=round((epoch + piece.end) * 1e9),
            attributes=_attempt(outcome, hop, traced.hops.index(hop), schemes[1]) if hop else {},
            error=hop.error if hop else "",
        )


def pieces(outcome: Outcome, traced: Traced, began: float, ended: float) -> Iterator[Piece]:
    """What the time went into, in order; what is between two attempts was a wait for a slot."""
    free = began + outcome.recv_ms / 1000
    if outcome.recv_ms:
        yield Piece("receive", began, free)
    waited = 0.0
    for hop in traced.hops:
        if hop.started - free > _SHORTEST_WAIT_SECONDS:
            yield Piece("queue", free, hop.started)
            waited += hop.started - free
        yield Piece("attempt", max(began, hop.started), hop.ended, hop)
        free = hop.ended
    in_vain = outcome.queue_ms / 1000 - waited
    if in_vain > _SHORTEST_WAIT_SECONDS:
        yield Piece("queue", free, min(free + in_vain, ended))


def _request(outcome: Outcome, route: str, scheme: str) -> dict[str, Value]:
    return filled(
        {
            "http.request.method": outcome.method,
            "http.route": route,
            "url.path": outcome.path,
            "url.scheme": scheme,
            "http.response.status_code": outcome.status,
            "http.request.body.size": outcome.body_bytes,
            "http.response.body.size": outcome.answer_bytes,
            "client.address": outcome.client,
            "error.type": outcome.error,
            "fleetgate.request_id": outcome.request_id,
            "fleetgate.model": outcome.model,
            "fleetgate.size_class": outcome.size_class,
            "fleetgate.size_class_because": outcome.why,
            "fleetgate.pixels": outcome.pixels,
            "fleetgate.image_format": outcome.image_format,
            "fleetgate.cost_ms": round(outcome.cost_ms, 3),
            "fleetgate.pool": outcome.pool,
            "fleetgate.node": outcome.node,
            "fleetgate.attempts": outcome.attempts,
        }
    )


def _attempt(outcome: Outcome, hop: Hop, number: int, scheme: str) -> dict[str, Value]:
    node = hop.node
    return filled(
        {
            "http.request.method": outcome.method,
            "url.full": f"{scheme}://{node.address}{outcome.path}",
            "server.address": node.host,
            "server.port": node.port,
            "http.response.status_code": hop.status,
            "http.request.resend_count": number,
            "error.type": hop.error,
            "fleetgate.node": node.id,
            "fleetgate.pool": node.pool,
        }
    )
