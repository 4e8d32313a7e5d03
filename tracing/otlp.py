"""OpenTelemetry's SDK as the last part of the way: batches, protobuf, HTTP, retries, on a thread of its own.

Our spans are made after the fact from times that are measured anyway, so no tracer and no context live on the request
path; the SDK gets them finished. What OTEL_* variables say (headers, certificates, compression, resource attributes)
the SDK reads by itself.
"""

from __future__ import annotations

import os
import platform

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tracing.span import Kind, Span

_KINDS = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)
# A span is looked for while the request is still in somebody's mind.
_SEND_EVERY_MS = 1000.0
_SEND_SECONDS = 5.0


class Otlp:
    """A Sink. What the collector does not take fast enough is dropped, and the SDK says so in the log."""

    def __init__(self, endpoint: str, service: str, version: str) -> None:
        base = endpoint.rstrip("/")
        url = base if base.endswith("/v1/traces") else f"{base}/v1/traces"
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=url, timeout=_SEND_SECONDS), schedule_delay_millis=_SEND_EVERY_MS
        )
        self._scope = InstrumentationScope("fleetgate", version)
        self._resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", service),
                "service.version": version,
                "service.instance.id": f"{platform.node()}-{os.getpid()}",
            }
        )

    def put(self, span: Span) -> None:
        """See Sink."""
        trace_id = int(span.trace_id, 16)
        self._processor.on_end(
            ReadableSpan(
                span.name,
                context=SpanContext(trace_id, int(span.span_id, 16), is_remote=False, trace_flags=_SAMPLED),
                parent=_parent(trace_id, span.parent_id),
                resource=self._resource,
                attributes=span.attributes,
                kind=_KINDS[span.kind],
                status=Status(StatusCode.ERROR, span.error) if span.error else _UNSET,
                start_time=span.start,
                end_time=span.end,
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """See Sink."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def _parent(trace_id: int, span_id: str) -> SpanContext | None:
    if not span_id:
        return None
    return SpanContext(trace_id, int(span_id, 16), is_remote=True, trace_flags=_SAMPLED)
