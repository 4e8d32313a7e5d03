"""Deadlines, the queue, and clients that hang up: whoever waits is answered or forgotten, and no slot with it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.gateway import jpeg, request, running
from tests.fakes.node import Call, FakeNode, Reply
from tests.fakes.raw_client import raw_client

BODY = jpeg(size=2048)


async def test_a_deadline_that_passes_on_the_node_is_504():
    async with FakeNode(lambda call: Reply(hang=True)) as node, running(node) as gateway:
        reply = await gateway.post(BODY, headers="X-Request-Timeout-Ms: 300\r\n")
        assert reply.status == 504
        assert int(node.calls[0].header("x-envoy-expected-rq-timeout-ms")) <= 300
        await node.wait(lambda node: node.calls[0].ended == "gone")
        await gateway.settled()
        assert gateway.gateway.fleet.backends[node.instance().id].errors == 0  # the client was impatient


async def test_a_deadline_that_cannot_be_met_is_refused_at_once():
    async with FakeNode() as node, running(node) as gateway:
        reply = await gateway.post(jpeg(5000, 5000), headers="X-Request-Timeout-Ms: 1\r\n")
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert node.calls == []


async def test_who_waits_gets_the_slot_that_frees():
    async with FakeNode(capacity=1) as node, running(node, routing={"prefetch_lead": 0.0}) as gateway:
        release = asyncio.Event()
        served: list[str] = []

        async def ask(name: str) -> None:
            reply = await gateway.post(BODY, headers=f"X-Request-Id: {name}\r\n")
            assert reply.status == 200
            served.append(name)
            release.set()

        node.behave = lambda call: Reply(delay=0.2 if call.request_id == "first" else 0.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(ask("first"))
            await gateway.until(lambda: gateway.in_flight)
            for name in ("second", "third"):
                group.create_task(ask(name))
        assert served[0] == "first"
        waits = [outcome.queue_ms for outcome in gateway.outcomes.all]
        assert sum(wait > 0 for wait in waits) == 2
        await gateway.settled()


async def test_a_full_queue_is_refused_at_once():
    async with FakeNode(lambda call: Reply(hang=True), capacity=1) as node:
        options = {"queue_requests": 1, "prefetch_lead": 0.0}
        async with running(node, routing=options) as gateway, gateway.client() as one, gateway.client() as two:
            await one.send(request(BODY))
            await gateway.until(lambda: gateway.in_flight == 1)
            await two.send(request(BODY))
            await gateway.until(lambda: len(gateway.gateway.scheduler.queue) == 1)
            reply = await gateway.post(BODY)
            assert reply.status == 503
            assert json.loads(reply.body)["type"].endswith("queue-full")
            assert int(reply.headers["retry-after"]) >= 1
            one.reset()
            two.reset()
            await gateway.settled()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_client_that_hangs_up_frees_its_slot_at_once(how):
    async with FakeNode(lambda call: Reply(hang=True)) as node, running(node) as gateway:
        async with gateway.client() as client:
            await client.send(request(BODY))
            await node.wait(lambda node: bool(node.calls))
            client.reset() if how == "reset" else client.writer.close()
            await gateway.settled()
            await node.wait(lambda node: node.calls[0].ended == "gone")
        assert (gateway.outcomes.last.status, gateway.outcomes.last.error) == (499, "client-gone")
        assert gateway.gateway.fleet.backends[node.instance().id].errors == 0


async def test_a_client_that_hangs_up_in_the_queue_leaves_it():
    async with (
        FakeNode(lambda call: Reply(hang=True), capacity=1) as node,
        running(node, routing={"prefetch_lead": 0.0}) as gateway,
        gateway.client() as one,
    ):
        await one.send(request(BODY))
        await gateway.until(lambda: gateway.in_flight == 1)
        async with gateway.client() as two:
            await two.send(request(BODY))
            await gateway.until(lambda: len(gateway.gateway.scheduler.queue) == 1)
            two.reset()
            await gateway.until(lambda: len(gateway.gateway.scheduler.queue) == 0)
        one.reset()
        await gateway.settled()
        assert len(node.calls) == 1


async def test_a_thousand_clients_that_hang_up_at_any_moment_leave_nothing_behind():
    def behave(call: Call) -> Reply:
        return Reply(delay=0.01 if len(call.body) % 2 else 0.0, body=b"x" * 200_000)

    async with (
        FakeNode(behave) as one,
        FakeNode(behave) as two,
        running(one, two, limits={"answer_buffer_bytes": 10_000}) as gateway,
    ):

        async def hang_up(number: int) -> None:
            body = jpeg(size=1000 + number % 7)
            raw = request(body)
            async with raw_client(gateway.address) as client:
                await client.send(raw[: 1 + number * 37 % len(raw)] if number % 3 else raw)
                if number % 3 == 0 and number % 2:
                    await client.reader.read(100 + number)
                if number % 5:
                    client.reset()

        for start in range(0, 1000, 50):
            await asyncio.gather(*(hang_up(number) for number in range(start, start + 50)))
        await gateway.settled()
        await gateway.until(lambda: gateway.gateway.server.cap.open == 0)
        await gateway.until(lambda: gateway.gateway.client.pool.open == gateway.gateway.client.pool.idle)
        assert (await gateway.post(BODY)).status == 200


async def test_a_half_closed_client_still_gets_its_answer():
    async with FakeNode(lambda call: Reply(delay=0.1)) as node, running(node) as gateway, gateway.client() as client:
        await client.send(request(BODY))
        client.half_close()
        reply = await client.reply()
        assert (reply.status, reply.closes) == (200, True)
        assert await client.ended() == b""
