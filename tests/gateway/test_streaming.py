"""Bodies and answers too large to be held, and the connections that they travel on."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.gateway import head, jpeg, request, running
from tests.fakes.node import CUT, FakeNode, Reply

BODY = jpeg(size=2048)


async def test_nodes_that_close_idle_connections_cost_nothing():
    async with FakeNode() as one, FakeNode() as two, running(one, two) as gateway, gateway.client() as client:
        one.close_idle = two.close_idle = True
        for _ in range(1000):
            await client.send(request(BODY))
            assert (await client.reply()).status == 200
        assert not any(outcome.retries for outcome in gateway.outcomes.all)
        await gateway.settled()


async def test_a_large_body_is_streamed_and_tried_once_only():
    body = jpeg(size=300_000)
    async with (
        FakeNode() as one,
        FakeNode() as two,
        running(one, two, limits={"replay_bytes": 100_000}) as gateway,
    ):
        assert (await gateway.post(body)).status == 200
        one.behave = two.behave = lambda call: Reply(read=200_000)
        reply = await gateway.post(body)
        assert reply.status == 502
        assert reply.headers["x-fleetgate-attempts"] == "1"
        assert [len(call.body) for call in one.calls + two.calls].count(300_000) == 1
        await gateway.settled()


async def test_a_large_body_is_tried_elsewhere_while_nothing_of_it_was_sent():
    async with (
        FakeNode() as one,
        FakeNode() as two,
        running(one, two, limits={"replay_bytes": 1000}, health={"probe_interval": 30}) as gateway,
    ):
        await one.stop()
        for _ in range(6):
            assert (await gateway.post(BODY)).status == 200


async def test_chunks_without_a_length_pass_whatever_their_number():
    body = jpeg(size=150_000)
    async with FakeNode() as node, running(node, limits={"replay_bytes": 100_000}) as gateway:
        for size in (50_000, 150_000):
            async with gateway.client() as client:
                await client.send(b"POST /v1/predict HTTP/1.1\r\nHost: fleet\r\nTransfer-Encoding: chunked\r\n\r\n")
                for start in range(0, size, 7000):
                    piece = body[start : min(start + 7000, size)]
                    await client.send(b"%x\r\n" % len(piece), piece, b"\r\n")
                await client.send(b"0\r\n\r\n")
                assert (await client.reply()).status == 200
                assert node.calls[-1].body == body[:size]


async def test_a_long_answer_passes_as_it_comes_and_holds_its_slot():
    long = bytes(range(256)) * 4096 * 8
    async with (
        FakeNode(lambda call: Reply(body=long, piece_delay=0.001)) as node,
        running(node, limits={"answer_buffer_bytes": 65536}) as gateway,
        gateway.client() as client,
    ):
        await client.send(request(BODY))
        await gateway.until(lambda: gateway.in_flight)
        reply = await client.reply()
        assert reply.body == long
        assert reply.headers["content-length"] == str(len(long))
        await gateway.settled()


async def test_an_answer_that_breaks_off_breaks_the_clients_connection():
    long = bytes(1 << 20)
    async with (
        FakeNode(lambda call: Reply(body=long, cut=900_000, end=CUT)) as node,
        running(node, limits={"answer_buffer_bytes": 65536}) as gateway,
        gateway.client() as client,
    ):
        await client.send(request(BODY))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reply()
        await gateway.settled()
        assert gateway.gateway.fleet.backends[node.instance().id].errors == 1


async def test_a_client_that_stalls_while_its_body_streams_blames_no_node():
    options = {"replay_bytes": 1000, "body_idle_seconds": 0.3}
    async with FakeNode() as node, running(node, limits=options) as gateway, gateway.client() as client:
        await client.send(head(100_000), jpeg(size=50_000))
        reply = await client.reply()
        assert reply.status == 408
        await gateway.settled()
        assert gateway.gateway.fleet.backends[node.instance().id].errors == 0
