"""A collector of traces: OTLP over HTTP on a port of its own, in a thread, remembering what it was sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

SECONDS = 20.0
KINDS = {Message.SPAN_KIND_SERVER: "server", Message.SPAN_KIND_CLIENT: "client", Message.SPAN_KIND_INTERNAL: "internal"}


@dataclass
class Seen:
    """A span as it arrived."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: dict[str, object]
    failed: bool
    error: str


@dataclass
class Collector:
    """`answer` is the status of its answers."""

    url: str = ""
    answer: int = 200
    spans: list[Seen] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def until(self, count: int) -> list[Seen]:
        """Wait for so many spans; in the order in which they began."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.spans) >= count, SECONDS), self.spans
            return sorted(self.spans, key=lambda span: (span.start, -span.end))

    def take(self, body: bytes) -> None:
        """One POST."""
        request = ExportTraceServiceRequest.FromString(body)
        with self.news:
            for resource in request.resource_spans:
                service = str(_attributes(resource.resource.attributes)["service.name"])
                for scope in resource.scope_spans:
                    self.spans += [_seen(service, span) for span in scope.spans]
            self.news.notify_all()


def _seen(service: str, span: Message) -> Seen:
    return Seen(
        service=service,
        name=span.name,
        kind=KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        failed=span.status.code == 2,
        error=span.status.message,
    )


def _attributes(pairs: list[KeyValue]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> object:
    return getattr(value, value.WhichOneof("value") or "string_value")


@contextmanager
def collector() -> Iterator[Collector]:
    """Run one."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            if made.answer == 200:
                made.take(body)
            self.send_response(made.answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
