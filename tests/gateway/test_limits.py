"""What a client may ask of the gateway: sizes, counts, time, memory."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.gateway import chunks_of, head, jpeg, request, running
from tests.fakes.node import FakeNode, Reply

BODY = jpeg(size=300)
START = "POST /v1/predict HTTP/1.1\r\nHost: fleet\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("GET /" + "a" * 9000 + " HTTP/1.1\r\nHost: fleet\r\n\r\n", 414),
        (START + "X: " + "a" * 9000 + "\r\n\r\n", 431),
        (START + "a" * 9000 + ": x\r\n\r\n", 431),
        (START + "X: a\r\n" * 150 + "\r\n", 431),
        (START + ("X: " + "a" * 4000 + "\r\n") * 9 + "\r\n", 431),
    ],
    ids=["line", "value", "name", "count", "all together"],
)
@pytest.mark.parametrize("piece", [100_000, 1000], ids=["at once", "in pieces"])
async def test_a_head_beyond_a_limit_gets_its_status(raw, status, piece):
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        try:
            for start in range(0, len(raw), piece):
                await client.send(raw[start : start + piece])
        except ConnectionError:
            pass
        reply = await client.reply()
        assert (reply.status, reply.closes) == (status, True)
        assert node.calls == []


async def test_a_head_of_the_allowed_size_passes():
    lines = "".join(f"X-{n}: {'a' * 300}\r\n" for n in range(90))
    async with FakeNode() as node, running(node) as gateway:
        assert (await gateway.post(BODY, headers=lines)).status == 200
        assert (await gateway.post(BODY, "/v1/predict?" + "a" * 8000)).status == 200
        assert len(node.calls[1].target) == 8012


async def test_a_head_that_never_ends_is_refused_while_it_comes():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(START)
        filling = asyncio.create_task(client.send(*[f"X-{n}: {'a' * 7000}\r\n" for n in range(99)]))
        assert (await client.reply()).status == 431
        await asyncio.gather(filling, return_exceptions=True)
        await gateway.settled()


async def test_a_body_beyond_the_limit_is_refused_by_its_head_and_in_its_middle():
    async with FakeNode() as node, running(node, limits={"body_bytes": 100_000}) as gateway:
        async with gateway.client() as client:
            await client.send(head(100_001))
            reply = await client.reply()
            assert (reply.status, json.loads(reply.body)["limit_bytes"]) == (413, 100_000)
            assert "retry-after" not in reply.headers
        async with gateway.client() as client:
            await client.send(START + "Transfer-Encoding: chunked\r\n\r\n")
            sending = asyncio.create_task(chunks_of(client, jpeg(size=400_000), 20_000))
            assert (await client.reply()).status == 413
            await asyncio.gather(sending, return_exceptions=True)
        assert (await gateway.post(jpeg(size=100_000))).status == 200
        assert len(node.calls) == 1
        await gateway.settled()


async def test_a_streamed_body_beyond_the_limit_is_refused_and_nobody_blamed():
    limits = {"body_bytes": 200_000, "replay_bytes": 50_000}
    async with FakeNode() as node, running(node, limits=limits) as gateway, gateway.client() as client:
        await client.send(START + "Transfer-Encoding: chunked\r\n\r\n")
        sending = asyncio.create_task(chunks_of(client, jpeg(size=400_000), 20_000))
        assert (await client.reply()).status == 413
        await asyncio.gather(sending, return_exceptions=True)
        await gateway.settled()
        assert gateway.gateway.fleet.backends[node.instance().id].errors == 0


async def test_too_large_an_image_is_refused_before_its_body_has_come():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(head(10_000_000), jpeg(60_000, 60_000))
        reply = await client.reply()
        assert (reply.status, reply.closes) == (413, True)


async def test_a_head_that_dawdles_is_ended():
    limits = {"header_seconds": 0.3, "keepalive_seconds": 60.0}
    async with FakeNode() as node, running(node, limits=limits) as gateway:
        for raw in ("P", "POST /v1/pred", START, START + "X: y\r\n"):
            async with gateway.client() as client:
                await client.send(raw)
                reply = await client.reply()
                assert (reply.status, reply.closes) == (408, True)
                assert await client.ended() == b""


async def test_a_head_byte_by_byte_is_ended_however_busy_it_looks():
    limits = {"header_seconds": 0.3}
    async with FakeNode() as node, running(node, limits=limits) as gateway, gateway.client() as client:

        async def drip() -> None:
            while True:
                await client.send("x")
                await asyncio.sleep(0.02)

        await client.send(START + "X: ")
        dripping = asyncio.create_task(drip())
        assert (await client.reply()).status == 408
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_an_idle_connection_is_closed_without_a_word():
    async with (
        FakeNode() as node,
        running(node, limits={"keepalive_seconds": 0.3}) as gateway,
        gateway.client() as fresh,
        gateway.client() as used,
    ):
        await used.send(request(BODY))
        assert (await used.reply()).status == 200
        assert await used.ended() == b""
        assert await fresh.ended() == b""


@pytest.mark.parametrize("sent", [0, 100], ids=["nothing came", "some came"])
async def test_a_stalled_upload_is_408(sent):
    limits = {"body_idle_seconds": 0.3}
    async with FakeNode() as node, running(node, limits=limits) as gateway, gateway.client() as client:
        await client.send(head(1000), BODY[:sent])
        reply = await client.reply()
        assert (reply.status, reply.closes) == (408, True)
        assert await client.ended() == b""
        await gateway.settled()
        assert node.calls == []


async def test_an_upload_that_drips_is_ended_by_its_total_time():
    limits = {"body_idle_seconds": 0.5, "body_seconds": 0.8}
    async with FakeNode() as node, running(node, limits=limits) as gateway, gateway.client() as client:

        async def drip() -> None:
            while True:
                await client.send(b"\0")
                await asyncio.sleep(0.02)

        await client.send(head(100_000), jpeg())
        dripping = asyncio.create_task(drip())
        assert (await client.reply()).status == 408
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_slow_client_waits_for_no_slot():
    async with FakeNode(capacity=1) as node, running(node) as gateway, gateway.client() as slow:
        await slow.send(head(300), BODY[:200])
        await gateway.until(lambda: gateway.gateway.api.in_flight)
        assert gateway.in_flight == 0
        assert (await gateway.post(BODY)).status == 200
        await slow.send(BODY[200:])
        assert (await slow.reply()).status == 200


async def test_an_answer_that_nobody_reads_is_cut_off():
    limits = {"write_seconds": 0.4, "answer_buffer_bytes": 1 << 20}
    async with (
        FakeNode(lambda call: Reply(body=bytes(40 << 20))) as node,
        running(node, limits=limits) as gateway,
        gateway.client() as client,
    ):
        client.writer.transport.pause_reading()
        await client.send(request(BODY))
        await node.wait(lambda node: bool(node.calls))
        await gateway.settled()
        assert gateway.gateway.server.cap.open == 0


async def test_bodies_held_at_once_are_bounded_and_the_rest_is_refused_at_once():
    limits = {"buffered_bytes": 1 << 20, "replay_bytes": 600_000}
    async with FakeNode() as node, running(node, limits=limits) as gateway:
        async with gateway.client() as one, gateway.client() as two, gateway.client() as three:
            for client in (one, two):
                await client.send(head(500_000), jpeg(size=499_999))
            await gateway.until(lambda: gateway.gateway.api.bytes.held > 990_000)
            await three.send(head(500_000, headers="Expect: 100-continue\r\n"))
            reply = await three.reply(interim=True)
            assert reply.status == 503
            assert int(reply.headers["retry-after"]) >= 1
            for client in (one, two):
                await client.send(b"\0")
                assert (await client.reply()).status == 200
        await gateway.settled()


async def test_one_address_may_hold_so_many_connections_and_all_so_many():
    for limits, status in (({"connections_per_client": 2}, 429), ({"connections": 2}, 503)):
        async with FakeNode() as node, running(node, limits=limits) as gateway:
            async with gateway.client() as one, gateway.client() as two:
                for client in (one, two):
                    await client.send(request(BODY))
                    assert (await client.reply()).status == 200
                async with gateway.client() as three:
                    reply = await three.reply()
                    assert (reply.status, reply.closes) == (status, True)
                    assert int(reply.headers["retry-after"]) >= 1
            await gateway.until(lambda gateway=gateway: gateway.gateway.server.cap.open == 0)
            assert (await gateway.post(BODY)).status == 200


async def test_a_refused_upload_is_read_away_so_that_the_refusal_is_seen():
    async with FakeNode() as node, running(node) as gateway, gateway.client() as client:
        await client.send(head(3_000_000, "/nowhere"))
        for _ in range(30):
            await client.send(bytes(100_000))
        reply = await client.reply()
        assert (reply.status, reply.closes) == (404, True)


async def test_a_pipelining_client_cannot_fill_the_memory():
    async with FakeNode(lambda call: Reply(delay=0.01)) as node, running(node) as gateway, gateway.client() as client:
        raw = request(BODY)
        sending = asyncio.create_task(client.send(*([raw] * 2000)))
        connection = next(iter(gateway.gateway.server.connections))
        for _ in range(50):
            assert (await client.reply()).status == 200
            assert len(connection._messages) <= 64
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.reset()
        await gateway.settled()
