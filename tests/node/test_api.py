"""The node's HTTP face: who is let in, what is refused before a body is read, what every answer carries."""

import asyncio
import zlib
from pathlib import Path

import pytest

from tests.fakes.raw_client import raw_client
from tests.fakes.serving import limits, picture, serving, until
from tests.fakes.session import Sessions, describe
from wire import load_report, timing

PREDICT = "POST /v1/predict HTTP/1.1\r\nHost: node\r\n"


async def test_every_answer_carries_the_load_report_and_an_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        answers = [
            await node.post("/v1/predict", picture()),
            await node.get("/v2/health/ready"),
            await node.get("/nowhere"),
            await node.post("/v1/predict", b"text"),
        ]

    assert [answer.status for answer in answers] == [200, 200, 404, 415]
    for answer in answers:
        report = load_report.decode(answer.headers)
        assert report is not None
        assert report.application_utilization
        assert report.rps_fractional
        assert (report.capacity, report.inflight, report.queue_depth, report.work_ms) == (
            node.node.sizes.slots, 0, 0, 0.0,
        )  # fmt: skip
        assert answer.headers["X-Request-Id"]
    durations = timing.decode(answers[0].headers["Server-Timing"])
    assert list(durations) == ["queue", "decode", "infer"]
    assert answers[0].headers["X-Fleetgate-Model"] == "bright@1"


async def test_a_clients_own_id_comes_back_even_with_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        answer = await node.get("/nowhere", X_Request_Id="mine-1")

    assert answer.headers["X-Request-Id"] == "mine-1"
    assert answer.json["request_id"] == "mine-1"


async def test_alive_but_not_ready_while_the_model_is_loaded(tmp_path: Path) -> None:
    async with serving(tmp_path, ready=False) as node:
        assert (await node.get("/v2/health/live")).status == 200
        assert (await node.get("/healthz")).status == 200
        ready = await node.get("/v2/health/ready")
        refused = await node.post("/v1/predict", picture())
        status = await node.get("/v1/models/bright")
        await node.node.become_ready()
        assert (await node.get("/v2/health/ready")).json == {"ready": True}

    assert (ready.status, ready.error) == (503, "no-node")
    assert "is being loaded" in ready.json["detail"]
    assert refused.headers["X-Fleetgate-Refused"] == "busy"
    assert status.json["model_version_status"][0]["state"] == "LOADING"


async def test_a_full_node_refuses_before_the_body_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(slots=1, waiting=1)) as node:
        node.session.gate.clear()
        taken = [asyncio.create_task(node.post("/v1/predict", picture())) for _ in range(2)]
        await until(lambda: node.node.load.admitted == 2)
        async with raw_client(node.address) as client:
            await client.send(PREDICT + "Content-Length: 50000000\r\nExpect: 100-continue\r\n\r\n")
            refused = await client.reply(interim=True)
        node.session.gate.set()
        assert [answer.status for answer in await asyncio.gather(*taken)] == [200, 200]

    assert refused.status == 503
    assert refused.headers["x-fleetgate-refused"] == "busy"
    assert refused.headers["retry-after"] == "1"
    report = load_report.decode(refused.headers)
    assert (report.inflight, report.queue_depth) == (1, 1)


async def test_who_expects_100_gets_it_and_then_the_answer(tmp_path: Path) -> None:
    image = picture()
    async with serving(tmp_path) as node, raw_client(node.address) as client:
        await client.send(PREDICT + f"Content-Length: {len(image)}\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.reply(interim=True)).status == 100
        await client.send(image)
        assert (await client.reply()).status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Content-Length: 70000000\r\nExpect: 100-continue\r\n", 413),
        ("Content-Length: 70000000\r\n", 413),
        ("Content-Length: 9\r\nExpect: 200-ok\r\n", 417),
        ("Content-Length: 9\r\nContent-Encoding: br\r\n", 415),
        ("Content-Length: 9\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n", 415),
        ("Content-Length: 9\r\nX-Request-Timeout-Ms: soon\r\n", 400),
        ("Content-Length: 9\r\nX-Request-Timeout-Ms: 1_000\r\n", 400),
        ("Content-Length: 9\r\nContent_Length: 3\r\n", 400),
        ("Content-Length: 9\r\nInference-Header-Content-Length: -1\r\n", 400),
        ("Content-Length: 9\r\nContent-Length: 9\r\n", 400),
        ("Content-Length: +9\r\n", 400),
        ("Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 400),
        ("Content-Length : 9\r\n", 400),
        ("X: " + "a" * 9000 + "\r\n", 431),
        ("".join(f"X{n}: a\r\n" for n in range(200)), 431),
        ("".join(f"X{n}: {'a' * 4000}\r\n" for n in range(20)), 431),
    ],
)
async def test_a_bad_head_is_refused_without_a_body(tmp_path: Path, head: str, status: int) -> None:
    async with serving(tmp_path) as node, raw_client(node.address) as client:
        await client.send(PREDICT + head + "\r\n")
        reply = await client.reply(interim=True)

    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.closes


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/2.0\r\n", 505),
        ("GET /" + "a" * 9000 + " HTTP/1.1\r\n", 414),
        ("GET http://other/v2 HTTP/1.1\r\n", 400),
        ("not http at all\r\n", 400),
        ("\x16\x03\x01\x02\r\n", 400),
    ],
)
async def test_what_is_not_http_is_answered_in_our_own_words(tmp_path: Path, line: str, status: int) -> None:
    secret = "Authorization: Bearer very-secret\r\n"
    async with serving(tmp_path) as node, raw_client(node.address) as client:
        await client.send(line + "Host: node\r\n" + secret + "\r\n")
        reply = await client.reply()
        await client.ended()

    assert reply.status == status
    assert b"secret" not in reply.body
    assert "aiohttp" not in str(reply.headers)


async def test_wrong_method_names_the_right_ones(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        wrong = [await node.get("/v1/predict"), await node.post("/v2/health/live"), await node.call("DELETE", "/v2")]
        head = await node.call("HEAD", "/v2/health/live")

    assert [answer.status for answer in wrong] == [405, 405, 405]
    assert [answer.headers["Allow"] for answer in wrong] == ["POST, PUT", "GET, HEAD", "GET, HEAD"]
    assert (head.status, head.body) == (200, b"")


async def test_a_client_that_hangs_up_gives_its_slot_back(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(slots=1, waiting=3)) as node:
        node.session.gate.clear()
        image = picture()
        async with raw_client(node.address) as running, raw_client(node.address) as waiting:
            for client in (running, waiting):
                await client.send(PREDICT + f"Content-Length: {len(image)}\r\n\r\n", image)
            await until(lambda: node.node.load.admitted == 2)
            waiting.reset()
            running.reset()
        await until(lambda: not node.node.load.admitted and not node.node.batcher.waiting)
        assert node.node.load.work_ms == 0
        node.session.gate.set()
        assert (await node.post("/v1/predict", image)).status == 200

    assert node.node.batcher.room.held == 0
    assert b'code="499"' in node.node.metrics.page()


async def test_a_chunk_that_breaks_later_ends_the_call_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, raw_client(node.address) as client:
        await client.send(PREDICT + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await until(lambda: node.node.load.admitted)
        await client.send("nonsense\r\n")
        reply = await client.reply()
        await client.ended()
        assert (await node.get("/v2/health/ready")).status == 200

    assert reply.status == 400
    assert node.node.load.admitted == 0


async def test_a_stalled_upload_ends_with_408(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(body_idle_seconds=0.05)) as node, raw_client(node.address) as client:
        await client.send(PREDICT + "Content-Length: 100\r\n\r\nhalf")
        reply = await client.reply()

    assert reply.status == 408
    assert reply.closes


async def test_a_dribbled_upload_ends_with_408(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(body_seconds=0.2)) as node, raw_client(node.address) as client:
        await client.send(PREDICT + "Content-Length: 100\r\n\r\n")

        async def dribble() -> None:
            while True:
                await client.send("x")
                await asyncio.sleep(0.01)

        dribbling = asyncio.create_task(dribble())
        reply = await client.reply()
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)

    assert reply.status == 408


@pytest.mark.parametrize("begin", ["", "POST /v1/pre", PREDICT, PREDICT + "X: y"])
async def test_half_a_head_does_not_hold_a_connection(tmp_path: Path, begin: str) -> None:
    async with serving(tmp_path, limits=limits(header_seconds=0.1)) as node, raw_client(node.address) as client:
        await client.send(begin)
        assert await client.ended() == b""


async def test_a_slow_second_head_does_not_either(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(header_seconds=0.1)) as node, raw_client(node.address) as client:
        await client.send("GET /v2/health/live HTTP/1.1\r\nHost: node\r\n\r\n")
        assert (await client.reply()).status == 200
        await asyncio.sleep(0.15)  # an idle connection is no slow head
        await client.send("GET /v2/health/live HTTP/1.1\r\nHost: node\r\n\r\n")
        assert (await client.reply()).status == 200
        await client.send("GET /v2/hea")
        assert await client.ended() == b""


async def test_connections_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(connections=2)) as node:
        async with raw_client(node.address) as one, raw_client(node.address) as two:
            for client in (one, two):
                await client.send("GET /v2/health/live HTTP/1.1\r\nHost: node\r\n\r\n")
                assert (await client.reply()).status == 200
            async with raw_client(node.address) as three:
                assert await three.ended() == b""
        async with asyncio.timeout(5):
            while True:
                async with raw_client(node.address) as client:
                    await client.send("GET /v2/health/live HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
                    if await client.ended():
                        break


async def test_bodies_held_at_once_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(buffered_bytes=1 << 20)) as node:
        async with raw_client(node.address) as holder:
            await holder.send(PREDICT + "Content-Length: 1000000\r\n\r\nx")
            await until(lambda: node.node.load.admitted)
            refused = await node.post("/v1/predict", b"x" * 100_000)
        await until(lambda: not node.node.load.admitted)
        assert (await node.post("/v1/predict", picture())).status == 200

    assert (refused.status, refused.error) == (503, "node-busy")


@pytest.mark.parametrize("wrapper", [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_compressed_bodies_are_read(tmp_path: Path, wrapper: tuple[str, int]) -> None:
    coding, bits = wrapper
    deflater = zlib.compressobj(9, zlib.DEFLATED, bits)
    body = deflater.compress(picture(size=(300, 300), kind="BMP")) + deflater.flush()
    async with serving(tmp_path) as node:
        answer = await node.post("/v1/predict", body, Content_Encoding=coding)
        broken = await node.post("/v1/predict", body[: len(body) // 2], Content_Encoding=coding)
        nonsense = await node.post("/v1/predict", b"nonsense", Content_Encoding=coding)

    assert answer.json[0]["label"] == "b7"
    assert (broken.status, nonsense.status) == (400, 400)


async def test_a_decompression_bomb_is_413(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(200 << 20), 9)
    async with serving(tmp_path) as node:
        answer = await node.post("/v1/predict", bomb, Content_Encoding="deflate")

    assert (answer.status, answer.error) == (413, "too-large")


async def test_long_answers_are_compressed_for_who_asks(tmp_path: Path) -> None:
    async with serving(tmp_path, describe("numbers", images=False, labels=False)) as node:
        rows = {"instances": [[1.0, 2.0]] * 40}
        body = str(rows).replace("'", '"').encode()
        plain = await node.post("/v1/models/numbers:predict", body)
        packed = await node.post("/v1/models/numbers:predict", body, Accept_Encoding="deflate, gzip;q=0")

    assert packed.headers["Content-Encoding"] == "deflate"
    assert zlib.decompress(packed.body) == plain.body
    assert "Content-Encoding" not in plain.headers


async def test_work_that_cannot_be_done_in_time_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=limits(slots=8)) as node:
        node.session.gate.clear()
        late = await node.post("/v1/predict", picture(), X_Request_Timeout_Ms="50")
        with node.node.load.work("bright", 60_000):
            hopeless = await node.post("/v1/predict", picture(), x_envoy_expected_rq_timeout_ms="1000")
        node.session.gate.set()

    assert (late.status, late.error) == (504, "deadline-missed")
    assert (hopeless.status, hopeless.error) == (503, "hopeless")
    assert int(hopeless.headers["Retry-After"]) >= 1


async def test_the_page_and_the_metrics_tell_what_happened(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        await node.post("/v1/predict", picture())
        page = (await node.get("/")).body.decode()
        metrics = (await node.get("/metrics")).body.decode()

    assert "bright@1" in page
    assert "ready" in page
    assert 'inference_request_duration_seconds_count{model="bright@1",phase="infer"} 1.0' in metrics
    assert 'inference_requests_total{code="200",route="predict"} 1.0' in metrics
    assert "inference_requests_running 0.0" in metrics
    assert "event_loop_lag_seconds" in metrics


async def test_a_model_that_cannot_be_loaded_stays_unready(tmp_path: Path) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no memory")

    async with serving(tmp_path, sessions=Sessions(fail), ready=False) as node:
        with pytest.raises(RuntimeError, match="no memory"):
            await node.node.become_ready()
        assert (await node.get("/v2/health/ready")).status == 503
