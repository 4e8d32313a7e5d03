"""Leaving: what has begun is finished, nothing is lost, and the process ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.fakes.gateway import head, jpeg, request, running
from tests.fakes.node import FakeNode, Reply

BODY = jpeg(size=3000)
BRIEF = {"linger_seconds": 0.1}  # our clients here read their answer and stay


async def test_uploads_handlers_and_half_heads_are_finished_and_idle_connections_closed():
    node = FakeNode(lambda call: Reply(delay=0.2), capacity=64)
    async with node, running(node, limits=BRIEF) as gateway, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(gateway.client()) for _ in range(40)]
        uploads, working, halves, idle = (clients[start : start + 10] for start in range(0, 40, 10))
        for client in idle:
            await client.send(request(BODY))
            assert (await client.reply()).status == 200
        for client in uploads:
            await client.send(head(len(BODY)), BODY[:1000])
        for client in working:
            await client.send(request(BODY))
        for client in halves:
            await client.send(head(len(BODY))[:40])
        await gateway.until(lambda: gateway.gateway.api.in_flight == 20 and gateway.in_flight == 10)
        leaving = asyncio.create_task(gateway.gateway.stop())
        for client in idle:
            assert await client.ended() == b""
        with pytest.raises(ConnectionError):
            await stack.enter_async_context(gateway.client())
        for client in halves:
            await client.send(head(len(BODY))[40:], BODY)
        for client in uploads:
            await client.send(BODY[1000:])
        for client in uploads + working + halves:
            reply = await client.reply()
            assert (reply.status, reply.closes) == (200, True)
            assert await client.ended() == b""
        assert await leaving == 0


async def test_what_comes_while_the_door_is_closing_is_answered_or_not_taken():
    """A rolling restart under load: whoever got a connection gets an answer, or a close before its request is read."""
    async with FakeNode() as node, running(node) as gateway:
        answered: list[int] = []

        async def keep_asking() -> None:
            while True:
                answered.append((await gateway.post(BODY)).status)

        asking = [asyncio.create_task(keep_asking()) for _ in range(8)]
        await gateway.until(lambda: len(answered) > 50)
        assert await gateway.gateway.stop() == 0
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert set(answered) == {200}
        # A connection that lay in the queue of the closing socket is reset by the kernel, nothing of it was read.
        assert all(isinstance(result, ConnectionError) for result in results)


async def test_a_drain_is_bounded():
    limits = {"drain_seconds": 0.3}
    async with (
        FakeNode(lambda call: Reply(hang=True)) as node,
        running(node, limits=limits) as gateway,
        gateway.client() as client,
    ):
        await client.send(request(BODY))
        await node.wait(lambda node: bool(node.calls))
        assert await gateway.gateway.stop() == 0
        assert await client.ended() == b""


async def test_while_draining_the_gateway_says_that_it_is_not_ready():
    async with FakeNode() as node, running(node, limits=BRIEF) as gateway, gateway.client() as client:
        await client.send("GET /readyz HTTP/1.1\r\nHo")
        await gateway.until(lambda: gateway.gateway.server.cap.open == 1)
        await asyncio.sleep(0.05)
        leaving = asyncio.create_task(gateway.gateway.stop())
        await asyncio.sleep(0)
        await client.send("st: fleet\r\n\r\n")
        reply = await client.reply("GET")
        assert (reply.status, reply.closes) == (503, True)
        assert await leaving == 0
