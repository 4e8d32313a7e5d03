"""A traced call of a node as spans, sent to a collector over HTTP."""

import asyncio
from pathlib import Path

from tests.fakes.collector import collector
from tests.fakes.serving import picture, serving
from tests.fakes.session import Sessions
from tracing.config import Tracing

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


async def test_queue_decode_and_infer_are_the_parts_of_a_call(tmp_path: Path) -> None:
    with collector() as sink:
        async with serving(tmp_path, tracing=Tracing(endpoint=sink.url)) as node:
            node.session.row_seconds = 0.03
            await node.post("/v1/predict", picture(size=(300, 200)), traceparent=PARENT, X_Request_Id="mine")
        spans = await asyncio.to_thread(sink.until, 3)
    whole = spans[0]
    assert (whole.name, whole.kind, whole.trace_id, whole.parent_id) == ("POST /v1/predict", "server", TRACE, CALLER)
    parts = {span.name: span for span in spans[1:]}
    assert {"decode", "infer"} <= parts.keys() <= {"queue", "decode", "infer"}
    assert parts["infer"].end - parts["infer"].start >= 30e6
    assert whole.start <= parts["decode"].start <= parts["decode"].end <= parts["infer"].start
    assert parts["infer"].end <= whole.end
    assert {span.parent_id for span in spans[1:]} == {whole.span_id}
    assert {"fleetgate.pixels": 60_000, "fleetgate.request_id": "mine", "fleetgate.rows": 1}.items() <= (
        whole.attributes.items()
    )


async def test_what_waits_behind_another_was_in_the_queue(tmp_path: Path) -> None:
    with collector() as sink:
        async with serving(tmp_path, tracing=Tracing(endpoint=sink.url)) as node:
            node.session.row_seconds = 0.05
            await asyncio.gather(*(node.post("/v1/predict", picture(), traceparent=PARENT) for _ in range(12)))
        spans = await asyncio.to_thread(sink.until, 36)
    assert max(span.end - span.start for span in spans if span.name == "queue") > 20e6


async def test_a_failure_is_told(tmp_path: Path) -> None:
    with collector() as sink:
        async with serving(tmp_path, tracing=Tracing(endpoint=sink.url)) as node:
            assert (await node.post("/v1/predict", b"no image", traceparent=PARENT)).status == 415
            sessions: Sessions = node.sessions
            sessions.last.broken = True
            assert (await node.post("/v1/predict", picture(), traceparent=PARENT)).status >= 500
        spans = await asyncio.to_thread(sink.until, 3)
    refused, broken = [span for span in spans if span.kind == "server"]
    assert (refused.failed, refused.attributes["error.type"]) == (False, "unsupported-media")
    assert broken.failed
    assert broken.attributes["error.type"]


async def test_what_nobody_records_is_not_recorded(tmp_path: Path) -> None:
    with collector() as sink:
        async with serving(tmp_path, tracing=Tracing(endpoint=sink.url, sample_ratio=0.0)) as node:
            await node.post("/v1/predict", picture(), traceparent=PARENT[:-1] + "0")
            await node.post("/v1/predict", picture())
            await node.post("/v1/predict", picture(), traceparent=PARENT)
        await asyncio.to_thread(sink.until, 3)
    assert len([span for span in sink.spans if span.kind == "server"]) == 1
