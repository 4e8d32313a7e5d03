"""A traced call as spans: its whole, and within it queue, decode and infer.

Made from times that the job notes anyway, after the answer; the parent is the gateway's attempt, named by traceparent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from node.work import Job
from tracing.span import Kind, Span, Value, filled, route_of
from wire import ids
from wire.headers import TRACEPARENT

# A wait shorter than this is the time between two lines of code.
_SHORTEST_WAIT_SECONDS = 50e-6


class Traced(msgspec.Struct):
    """One call whose trace is written. Times are monotonic seconds."""

    trace: ids.Trace
    parent_id: str
    request_id: str
    began: float
    received: float = 0.0  # its body is here and understood
    job: Job | None = None


class Piece(msgspec.Struct):
    """A part of a call's time, in monotonic seconds."""

    name: str
    start: float
    end: float


class Spans:
    """Follows each caller's choice; `sampled` chooses by their ids among traces that begin here."""

    def __init__(
        self, sampled: Callable[[str], bool], put: Callable[[Iterable[Span]], None], scheme: str = "http"
    ) -> None:
        self._sampled = sampled
        self._put = put
        self._scheme = scheme

    def begin(self, headers: Mapping[str, str], request_id: str) -> Traced | None:
        """None when this call's trace is not written."""
        parent = ids.parse_traceparent(headers.get(TRACEPARENT))
        trace = ids.child(parent, self._sampled)
        if not trace.sampled:
            return None
        return Traced(trace, parent.span_id if parent is not None else "", request_id, time.monotonic())

    def end(self, traced: Traced, method: str, path: str, route: str, status: int, error: str) -> None:
        """The call is answered, or its client is gone."""
        now = time.monotonic()
        attributes = _attributes(traced, method, path, route, status, error) | {"url.scheme": self._scheme}
        self._put(spans(traced, attributes, error if status >= 500 else "", now, time.time() - now))


def spans(traced: Traced, attributes: dict[str, Value], error: str, ended: float, epoch: float) -> Iterator[Span]:
    """The spans; `epoch` added to monotonic seconds makes seconds since 1970."""
    trace = traced.trace

    def made(name: str, kind: Kind, start: float, end: float) -> Span:
        return Span(
            name=name,
            kind=kind,
            trace_id=trace.trace_id,
            span_id=os.urandom(8).hex(),
            parent_id=trace.span_id,
            start=round((epoch + start) * 1e9),
            end=round((epoch + end) * 1e9),
            attributes={},
        )

    name = f"{attributes['http.request.method']} {attributes.get('http.route', '')}".rstrip()
    whole = made(name, Kind.SERVER, traced.began, ended)
    whole.span_id, whole.parent_id = trace.span_id, traced.parent_id
    whole.attributes, whole.error = attributes, error
    yield whole
    for piece in pieces(traced, ended):
        yield made(piece.name, Kind.INTERNAL, piece.start, piece.end)


def pieces(traced: Traced, ended: float) -> Iterator[Piece]:
    """What the time went into, in order. Of several rows, decoding and running are the sums, ending with the last."""
    job = traced.job
    if job is None:
        return
    free = traced.received
    for name, ms, end in (("decode", job.decode_ms, job.decoded_at), ("infer", job.infer_ms, job.inferred_at)):
        if not end:
            continue
        start = max(free, end - ms / 1000)
        if start - free > _SHORTEST_WAIT_SECONDS:
            yield Piece("queue", free, start)
        yield Piece(name, start, max(start, end))
        free = max(start, end)
    if not job.inferred_at and ended - free > _SHORTEST_WAIT_SECONDS:  # it never ran
        yield Piece("queue", free, ended)


def _attributes(traced: Traced, method: str, path: str, route: str, status: int, error: str) -> dict[str, Value]:
    job = traced.job
    headers = [row.header for row in job.rows if row.header is not None] if job is not None else []
    return filled(
        {
            "http.request.method": method,
            "http.route": route_of(path, route),
            "url.path": path,
            "http.response.status_code": status,
            "error.type": error,
            "fleetgate.request_id": traced.request_id,
            "fleetgate.model": job.engine.title if job is not None else "",
            "fleetgate.rows": len(job.rows) if job is not None else 0,
            "fleetgate.pixels": sum(header.pixels for header in headers),
            "fleetgate.image_format": headers[0].format if headers else "",
            "fleetgate.predicted_ms": round(job.predicted_ms, 3) if job is not None else 0,
        }
    )
