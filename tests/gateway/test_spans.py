"""A traced request as spans, sent to a collector over HTTP."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.outcome import Outcome
from gateway.spans import pieces
from gateway.traced import Hop, Traced
from tests.fakes.collector import Collector, Seen, collector
from tests.fakes.gateway import jpeg, running
from tests.fakes.node import FakeNode, Reply
from tests.fakes.operators import node
from wire.ids import Trace

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BUSY = Reply(status=503, headers=[("X-Fleetgate-Refused", "busy")])


@pytest.fixture
def sink() -> Iterator[Collector]:
    with collector() as made:
        yield made


def header(flags: str = "01") -> str:
    return f"traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n"


def options(sink: Collector, ratio: float = 0.0) -> dict[str, object]:
    return {"endpoint": sink.url, "sample_ratio": ratio}


async def seen(sink: Collector, count: int) -> list[Seen]:
    return await asyncio.to_thread(sink.until, count)


async def test_a_request_that_is_traced_by_its_caller_is_a_part_of_the_callers_trace(sink: Collector) -> None:
    async with FakeNode(lambda call: Reply(delay=0.02)) as one, running(one, tracing=options(sink)) as gateway:
        await gateway.post(jpeg(4000, 3000), "/v1/predict?key=secret", header())
        whole, receive, attempt = await seen(sink, 3)
    assert (whole.name, whole.kind, whole.parent_id) == ("POST /v1/predict", "server", CALLER)
    assert (receive.name, receive.parent_id) == ("receive", whole.span_id)
    assert (attempt.name, attempt.kind, attempt.parent_id) == ("attempt", "client", whole.span_id)
    assert {span.trace_id for span in (whole, receive, attempt)} == {TRACE}
    assert one.calls[-1].header("traceparent") == f"00-{TRACE}-{attempt.span_id}-01"
    assert whole.start <= attempt.start < attempt.end <= whole.end
    assert attempt.end - attempt.start >= 20e6
    assert not whole.failed
    wanted = {
        "http.request.method": "POST",
        "http.route": "/v1/predict",
        "url.path": "/v1/predict",
        "http.response.status_code": 200,
        "client.address": "127.0.0.1",
        "fleetgate.pixels": 12_000_000,
        "fleetgate.size_class": "heavy",
        "fleetgate.node": one.instance().id,
    }
    assert wanted.items() <= whole.attributes.items()
    assert float(str(whole.attributes["fleetgate.cost_ms"])) > 0
    host, port = one.instance().host, one.instance().port
    assert {"server.address": host, "server.port": port}.items() <= attempt.attributes.items()
    assert "secret" not in str((whole.attributes, attempt.attributes))


async def test_each_attempt_is_a_span_and_each_node_is_told_its_own(sink: Collector) -> None:
    async with (
        FakeNode(lambda call: BUSY, name="busy") as busy,
        FakeNode(name="good", pool="heavy") as good,  # so that light work comes here second
        running(busy, good, tracing=options(sink)) as gateway,
    ):
        while not busy.calls or busy.calls[-1].method != "POST":  # until the busy one is tried first
            sink.spans.clear()
            await gateway.post(jpeg(), headers=header())
            spans = await seen(sink, 3)
    attempts = [span for span in spans if span.name == "attempt"]
    assert [span.attributes["fleetgate.node"] for span in attempts] == ["busy", "good"]
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1]
    assert [span.failed for span in attempts] == [True, False]
    assert attempts[0].attributes["error.type"] == "node-busy"
    told = [each.calls[-1].header("traceparent").split("-")[2] for each in (busy, good)]
    assert told == [span.span_id for span in attempts]


async def test_a_request_that_fails_says_why(sink: Collector) -> None:
    async with FakeNode(lambda call: Reply(status=500)) as bad, running(bad, tracing=options(sink)) as gateway:
        await gateway.post(jpeg(), headers=header())
        whole, _, attempt = await seen(sink, 3)
    assert whole.failed
    assert whole.attributes["error.type"] == "node-garbage"
    assert attempt.attributes["http.response.status_code"] == 500


async def test_a_client_that_hangs_up_ends_its_attempt(sink: Collector) -> None:
    async with FakeNode(lambda call: Reply(delay=20)) as slow, running(slow, tracing=options(sink)) as gateway:
        async with gateway.client() as client:
            body = jpeg()
            await client.send(f"POST /v1/predict HTTP/1.1\r\nHost: f\r\nContent-Length: {len(body)}\r\n{header()}\r\n")
            await client.send(body)
            await slow.wait(lambda node: any(call.method == "POST" for call in node.calls))
        spans = await seen(sink, 3)
    assert spans[0].attributes["http.response.status_code"] == 499
    assert not spans[0].failed  # semantic conventions: a server is not to blame below 500
    assert spans[-1].attributes["error.type"] == "client-gone"


async def test_a_caller_that_does_not_record_is_followed_and_the_rest_is_drawn_by_lot(sink: Collector) -> None:
    async with FakeNode() as one, running(one, tracing=options(sink, 1.0)) as gateway:
        await gateway.post(jpeg(), headers=header("00"))
        assert one.calls[-1].header("traceparent").endswith("-00")
        await gateway.post(jpeg())
        assert one.calls[-1].header("traceparent").endswith("-01")
        spans = await seen(sink, 3)
    assert len({span.trace_id for span in spans}) == 1
    assert spans[0].trace_id != TRACE
    assert spans[0].parent_id == ""


async def test_without_an_endpoint_nothing_is_noted() -> None:
    async with FakeNode() as one, running(one) as gateway:
        await gateway.post(jpeg(), headers=header())
        assert gateway.outcomes.last.traced is None
        assert gateway.outcomes.last.trace_id == TRACE
        assert one.calls[-1].header("traceparent").endswith("-01")  # whoever comes after may record


def test_what_lies_between_attempts_was_a_wait() -> None:
    traced = Traced(Trace(TRACE, CALLER, 1), "")
    traced.attempted(node("a"), 10.2, 10.3, 0, "node-busy")
    traced.attempted(node("b"), 10.5, 10.9, 200, "")
    outcome = _outcome(recv_ms=100.0, queue_ms=300.0, retries=("node-busy",))
    named = [(piece.name, round(piece.start, 3), round(piece.end, 3)) for piece in pieces(outcome, traced, 10.0, 11.0)]
    assert named == [
        ("receive", 10.0, 10.1),
        ("queue", 10.1, 10.2),
        ("attempt", 10.2, 10.3),
        ("queue", 10.3, 10.5),
        ("attempt", 10.5, 10.9),
    ]


def test_a_wait_that_came_to_nothing_is_shown() -> None:
    traced = Traced(Trace(TRACE, CALLER, 1), "")
    outcome = _outcome(recv_ms=100.0, queue_ms=900.0)
    assert [piece.name for piece in pieces(outcome, traced, 10.0, 11.0)] == ["receive", "queue"]
    traced.hops.append(Hop("1", node("a"), 10.1, 10.2, 0, "node-busy"))
    outcome = _outcome(queue_ms=800.0, retries=("node-busy",))
    assert [piece.name for piece in pieces(outcome, traced, 10.1, 11.0)] == ["attempt", "queue"]


def _outcome(**facts: object) -> Outcome:
    usual = {"at": 0.0, "request_id": "r", "method": "POST", "route": "predict", "path": "/v1/predict", "status": 200}
    return Outcome(**{**usual, **facts})  # type: ignore[arg-type]
