"""What clients and nodes see of each other through the gateway."""

from __future__ import annotations

import json
import re

import pytest

from tests.fakes.gateway import head, jpeg, request, running
from tests.fakes.node import FakeNode, Reply

BODY = jpeg(size=300)


async def test_every_answer_says_whose_it_is_and_where_the_time_went():
    async with FakeNode() as node, running(node) as gateway:
        for reply in (await gateway.post(BODY), await gateway.post(b"no image"), await gateway.get("/nowhere")):
            assert re.fullmatch("[0-9a-f]{32}", reply.headers["x-request-id"])
            parts = [part.split(";")[0] for part in reply.headers["server-timing"].split(", ")]
            assert parts == ["recv", "queue", "connect", "infer", "total"]
            assert reply.headers["date"].endswith("GMT")


async def test_the_clients_request_id_is_kept_when_it_can_be_printed():
    async with FakeNode() as node, running(node) as gateway:
        for offered, kept in (("abc-1.2_3", True), ("a b", False), ("x" * 129, False), ("ü", False)):
            reply = await gateway.post(BODY, headers=f"X-Request-Id: {offered}\r\n")
            assert (reply.headers["x-request-id"] == offered) is kept
            assert node.calls[-1].request_id == reply.headers["x-request-id"]


async def test_a_node_gets_the_request_without_what_was_meant_for_us():
    lines = (
        "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\n"
        "Proxy-Connection: close\r\nProxy-Authorization: secret\r\nExpect: 100-continue\r\n"
        "X-Fleetgate-Pool: heavy\r\nx-fleetgate-anything: 1\r\nendpoint-load-metrics: x\r\n"
        "X-Envoy-Expected-Rq-Timeout-Ms: 9\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
        "X-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Request-Timeout-Ms: 5000\r\n"
        "X-Kept: one\r\nX-Kept: two\r\nAuthorization: Bearer mine\r\nContent-Type: image/jpeg\r\n"
    )
    async with FakeNode() as node, running(node) as gateway:
        assert (await gateway.post(BODY, headers=lines)).status == 200
        call = node.calls[0]
        names = [name.lower() for name, _ in call.headers]
        for name in ("connection", "x-mine", "keep-alive", "te", "trailer", "proxy-connection", "proxy-authorization"):
            assert name not in names
        for name in ("expect", "x-fleetgate-pool", "x-fleetgate-anything", "endpoint-load-metrics", "forwarded"):
            assert name not in names
        assert "x-real-ip" not in names
        assert "x-request-timeout-ms" not in names
        assert call.header("X-Forwarded-For") == "127.0.0.1"
        assert call.header("X-Forwarded-Proto") == "http"
        assert call.header("X-Forwarded-Host") == "fleet"
        assert call.header("Via") == "1.1 fleetgate"
        assert int(call.header("x-envoy-expected-rq-timeout-ms")) <= 5000
        assert [value for name, value in call.headers if name == "X-Kept"] == ["one", "two"]
        assert call.header("Authorization") == "Bearer mine"
        assert call.header("Content-Type") == "image/jpeg"
        assert names.count("content-length") == names.count("host") == 1


async def test_a_trusted_proxy_is_believed_about_its_client():
    async with FakeNode() as node, running(node, security={"trusted_proxies": ["127.0.0.0/8"]}) as gateway:
        lines = "X-Forwarded-For: 6.6.6.6, 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\n"
        await gateway.post(BODY, headers=lines)
        call = node.calls[0]
        assert call.header("X-Forwarded-For") == "6.6.6.6, 9.9.9.9, 127.0.0.1"
        assert (call.header("X-Forwarded-Proto"), call.header("X-Forwarded-Host")) == ("https", "public")
        assert gateway.outcomes.last.client == "9.9.9.9"


async def test_a_trace_goes_on_below_the_clients_span():
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with FakeNode() as node, running(node) as gateway:
        await gateway.post(BODY, headers=f"traceparent: {parent}\r\ntracestate: a=1\r\ntracestate: b=2\r\n")
        child = node.calls[-1].header("traceparent")
        assert child.startswith("00-0af7651916cd43dd8448eb211c80319c-")
        assert child.endswith("-01")
        assert "b7ad6b7169203331" not in child
        assert node.calls[-1].header("tracestate") == "a=1, b=2"
        await gateway.post(BODY, headers="traceparent: nonsense\r\ntracestate: a=1\r\n")
        assert not node.calls[-1].header("tracestate")
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", node.calls[-1].header("traceparent"))


async def test_a_request_that_was_here_before_is_a_loop():
    async with FakeNode() as node, running(node) as gateway:
        assert (await gateway.post(BODY, headers="Via: 1.0 other, 1.1 fleetgate\r\n")).status == 400
        assert (await gateway.post(BODY, headers="Via: 1.0 other\r\n")).status == 200
        assert node.calls[0].header("Via") == "1.0 other, 1.1 fleetgate"


async def test_what_a_node_says_to_us_does_not_reach_the_client():
    headers = (("X-Fleetgate-Secret", "1"), ("Connection", "X-Hop"), ("X-Hop", "1"), ("Content-Type", "text/plain"))
    async with FakeNode(lambda call: Reply(headers=headers)) as node, running(node) as gateway:
        reply = await gateway.post(BODY)
        assert reply.status == 200
        assert not {"x-fleetgate-secret", "x-hop", "endpoint-load-metrics", "server"} & reply.headers.keys()
        assert reply.headers["content-type"] == "text/plain"
        assert "infer;dur=3.000" in reply.headers["server-timing"]


async def test_node_names_can_be_kept_from_strangers():
    async with FakeNode() as node, running(node, operator={"node_names": False}) as gateway:
        reply = await gateway.post(BODY, headers="X-Fleetgate-Explain: 1\r\n")
        assert not [name for name in reply.headers if name.startswith("x-fleetgate")]


async def test_a_decision_is_explained_to_whoever_asks():
    async with FakeNode() as node, running(node) as gateway:
        reply = await gateway.post(BODY, headers="X-Fleetgate-Explain: 1\r\n")
        decision = json.loads(reply.headers["x-fleetgate-explain"])
        assert decision["pixels"] == 640 * 480
        assert decision["winner"] == node.instance().id
        assert [each["node"] for each in decision["candidates"]] == [node.instance().id]
        assert "x-fleetgate-explain" not in (await gateway.post(BODY)).headers


async def test_health_calls_are_answered_here_and_model_calls_by_a_node():
    async with FakeNode() as node, running(node) as gateway:
        for path in ("/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready", "/v2", "/"):
            reply = await gateway.get(path)
            assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert node.calls == []
        for path in ("/v2/models/toy", "/v2/models/toy/versions/1/config", "/v1/models/toy", "/v2/models/toy/ready"):
            assert (await gateway.get(path)).status == 200
            assert (node.calls[-1].method, node.calls[-1].target) == ("GET", path)
        assert gateway.in_flight == 0


async def test_without_a_node_the_gateway_lives_but_is_not_ready():
    async with running() as gateway:
        for path in ("/healthz", "/readyz", "/ping", "/v2/health/ready"):
            reply = await gateway.get(path)
            assert reply.status == 503
            assert int(reply.headers["retry-after"]) >= 1
        assert (await gateway.get("/v2/health/live")).status == 200
        assert (await gateway.post(BODY)).status == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/v2/models/unknown/infer", 404),
        ("POST", "/v2/models/toy/versions/9/infer", 404),
        ("POST", "/v1/predict/unknown", 404),
        ("GET", "/v1/predict", 405),
        ("DELETE", "/v1/predict", 405),
        ("OPTIONS", "/v1/predict", 405),
        ("POST", "/v1/predict", 411),
        ("GET", "/metrics", 404),
    ],
)
async def test_what_is_not_served_gets_its_status_before_any_body(method, path, status):
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(f"{method} {path} HTTP/1.1\r\nHost: fleet\r\n\r\n")
        reply = await client.reply(method)
        assert reply.status == status
        assert json.loads(reply.body)["status"] == status
        assert json.loads(reply.body)["error"]
        if status == 405:
            assert reply.headers["allow"] == "POST, PUT"
        assert node.calls == []


async def test_broken_images_get_their_status():
    async with FakeNode() as node, running(node) as gateway:
        assert (await gateway.post(b"")).status == 400
        async with gateway.client() as client:
            await client.send(
                b"POST /v1/predict HTTP/1.1\r\nHost: fleet\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            )
            assert (await client.reply()).status == 400
        reply = await gateway.post(b"this is no image, whatever its name says")
        assert reply.status == 415
        assert "image/jpeg" in reply.headers["accept"]
        assert (await gateway.post(jpeg(0, 480))).status == 422
        assert (await gateway.post(jpeg(50_000, 50_000))).status == 413
        assert node.calls == []
        # What only a decoder can tell is the node's to judge.
        assert (await gateway.post(b"\xff\xd8\xff\xe0 cut off")).status == 200


@pytest.mark.parametrize("times", [1, 3])
async def test_an_expecting_client_is_told_to_go_on(times):
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        for _ in range(times):
            await client.send(head(len(BODY), headers="Expect: 100-continue\r\n"))
            assert (await client.reply(interim=True)).status == 100
            await client.send(BODY)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (200, False)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (head(1 << 40, headers="Expect: 100-continue\r\n"), 413),
        (head(10, "/nowhere", "Expect: 100-continue\r\n"), 404),
        (head(10, "/v2/models/unknown/infer", "Expect: 100-continue\r\n"), 404),
        (head(10, headers="Expect: a miracle\r\n"), 417),
        (head(10, headers="Expect: 100-continue\r\n").replace(b"POST", b"GET"), 405),
    ],
)
async def test_an_expecting_client_is_refused_before_it_sends(raw, status):
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(raw)
        reply = await client.reply(interim=True)
        assert (reply.status, reply.closes) == (status, True)
        assert node.calls == []


async def test_an_expecting_client_is_refused_when_nobody_can_serve():
    async with running() as gateway, gateway.client() as client:
        await client.send(head(1000, headers="Expect: 100-continue\r\n"))
        assert (await client.reply(interim=True)).status == 503


async def test_http_1_0_gets_its_answer_and_keeps_its_connection_only_when_asked():
    async with FakeNode() as node, running(node) as gateway:
        async with gateway.client() as client:
            await client.send(b"POST /v1/predict HTTP/1.0\r\nContent-Length: 300\r\n\r\n" + BODY)
            assert (await client.reply()).closes
            assert await client.ended() == b""
        async with gateway.client() as client:
            for _ in range(2):
                line = b"POST /v1/predict HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 300\r\n\r\n"
                await client.send(line + BODY)
                reply = await client.reply()
                assert (reply.status, reply.headers["connection"]) == (200, "keep-alive")


async def test_a_streamed_answer_to_http_1_0_ends_with_its_connection():
    reply = Reply(body=bytes(500_000), chunked=True)
    async with FakeNode(lambda call: reply) as node, running(node, limits={"answer_buffer_bytes": 1000}) as gateway:
        async with gateway.client() as client:
            line = b"POST /v1/predict HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 300\r\n\r\n"
            await client.send(line + BODY)
            answer = await client.reply()
            assert "transfer-encoding" not in answer.headers
            assert len(answer.body) == 500_000
        async with gateway.client() as client:
            await client.send(request(BODY))
            answer = await client.reply()
            assert answer.headers["transfer-encoding"] == "chunked"
            assert len(answer.body) == 500_000


async def test_head_asks_for_a_head():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        for path in ("/readyz", "/v2/models/toy", "/nowhere"):
            await client.send(f"HEAD {path} HTTP/1.1\r\nHost: fleet\r\n\r\n")
            assert (await client.reply("HEAD")).status in (200, 404)
        await client.send(request(BODY))
        assert (await client.reply()).status == 200


async def test_an_answer_without_a_body_has_none():
    async with (
        FakeNode(lambda call: Reply(status=204, body=b"")) as node,
        running(node) as gateway,
        gateway.client() as client,
    ):
        for _ in range(2):
            await client.send(request(BODY))
            reply = await client.reply()
            assert reply.status == 204
            assert "content-length" not in reply.headers


async def test_interim_answers_of_a_node_are_not_passed_on():
    async with (
        FakeNode(lambda call: Reply(informational=(103, 102))) as node,
        running(node) as gateway,
        gateway.client() as client,
    ):
        await client.send(request(BODY))
        assert (await client.reply(interim=True)).status == 200


async def test_a_connection_ends_after_so_many_requests():
    async with (
        FakeNode() as node,
        running(node, limits={"keepalive_requests": 3}) as gateway,
        gateway.client() as client,
    ):
        await client.send(request(BODY) * 5)
        replies = [await client.reply() for _ in range(3)]
        assert [reply.closes for reply in replies] == [False, False, True]
        assert await client.ended() == b""


async def test_a_bad_time_limit_is_told():
    async with FakeNode() as node, running(node) as gateway:
        for value in ("soon", "-1", "0", "1.5", "", "9" * 12):
            assert (await gateway.post(BODY, headers=f"X-Request-Timeout-Ms: {value}\r\n")).status == 400
        for value in ("soon", "-1", "9" * 20):
            headers = f"Inference-Header-Content-Length: {value}\r\n"
            assert (await gateway.post(BODY, "/v2/models/toy/infer", headers)).status == 400
        assert node.calls == []


async def test_the_outcome_of_a_request_is_told_to_observers():
    async with FakeNode() as node, running(node) as gateway:
        await gateway.post(BODY)
        outcome = gateway.outcomes.last
        assert (outcome.route, outcome.status, outcome.model) == ("predict", 200, "toy")
        assert (outcome.pixels, outcome.image_format, outcome.body_bytes) == (640 * 480, "jpeg", 300)
        assert (outcome.node, outcome.pool, outcome.size_class) == (node.instance().id, "light", "light")
        assert outcome.answer_bytes > 0
        assert outcome.total_ms > 0
        await gateway.post(b"no image at all")
        assert (gateway.outcomes.last.status, gateway.outcomes.last.error) == (415, "unsupported-media")


async def test_a_body_is_not_coded_more_than_once():
    async with FakeNode() as node, running(node) as gateway:
        for lines in (
            "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n",
            "Content-Encoding: gzip\r\nContent-Encoding: identity\r\n",
            "Content-Encoding: deflate, gzip\r\n",
        ):
            for path in ("/v1/predict", "/v2/models/toy/infer"):
                reply = await gateway.post(BODY, path, lines)
                assert (reply.status, reply.headers["accept-encoding"]) == (415, "gzip, deflate")
        assert node.calls == []


async def test_every_answer_says_how_often_a_node_was_tried():
    async with FakeNode() as node, running(node) as gateway:
        for reply, attempts in (
            (await gateway.post(BODY), "1"),
            (await gateway.post(b"no image"), "0"),
            (await gateway.get("/healthz"), "0"),
            (await gateway.get("/nowhere"), "0"),
        ):
            assert reply.headers["x-fleetgate-attempts"] == attempts
    async with running() as gateway:
        reply = await gateway.post(BODY)
        assert (reply.status, reply.headers["x-fleetgate-attempts"]) == (503, "0")
