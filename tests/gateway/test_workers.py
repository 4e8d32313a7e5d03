"""Several worker processes as one gateway: real processes, real sockets, killed and stopped under load."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.fakes.gateway import jpeg, request
from tests.fakes.gateway_process import TOKEN, alive, gateway_process, kill, load, more, serving
from tests.fakes.node import FakeNode, Reply
from tests.fakes.raw_client import exchange, raw_client

BODY = jpeg(size=3000)
TWO = {"count": 2, "handover_seconds": 1.0}


async def test_two_workers_are_one_gateway_to_operators(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        ids = [f"request-{number}" for number in range(40)]
        for name in ids:
            reply = await exchange(gateway.public, request(BODY, headers=f"X-Request-Id: {name}\r\n"))
            assert reply.status == 200
        document = await gateway.until(lambda document: document["nodes"][0]["requests"] == 40)
        assert len(await gateway.workers()) == 2
        assert document["nodes"][0]["attempts"] == 40
        assert document["verdict"]["level"] == "ok"
        assert await gateway.number("fleetgate_http_requests_total", route="predict") == 40
        assert await gateway.number("fleetgate_http_request_duration_seconds_count", route="predict") == 40
        assert await gateway.number("fleetgate_upstream_attempts_total") == 40
        assert await gateway.number("fleetgate_workers", state="serving") == 2
        assert await gateway.number("fleetgate_node_up") == 1
        for name in ids[-3:]:
            found = await gateway.get(f"/api/decisions?request_id={name}")
            assert found["request"]["request_id"] == name
            assert found["explanation"]
        async with gateway.client.get(f"http://{gateway.operators}/") as answer:
            assert "2 of 2 worker processes serving" in await answer.text()
        words = (sys.executable, "-m", "fleetgate", "status", "--url", f"http://{gateway.operators}")
        status = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        assert b"workers 1 serving" in (await status.communicate())[0]
        journal = await gateway.get("/api/journal")
        assert {row["request_id"] for row in journal["decisions"]} >= set(ids[-10:])


async def test_new_connections_are_spread_evenly(tmp_path: Path):
    gate = asyncio.Event()
    async with (
        FakeNode(lambda call: Reply(gate=gate)) as node,
        gateway_process(tmp_path, node, workers={"count": 3}) as gateway,
        AsyncExitStack() as stack,
    ):
        for _ in range(30):
            client = await stack.enter_async_context(raw_client(gateway.public))
            await client.send(request(BODY))
        document = await gateway.until(lambda document: document["gateway"]["in_flight"] == 30)
        assert all(8 <= worker["in_flight"] <= 12 for worker in document["workers"])
        assert document["nodes"][0]["in_flight"] == 30
        gate.set()


async def test_an_order_holds_for_every_worker_and_for_those_that_come_later(tmp_path: Path):
    async with (
        FakeNode() as one,
        FakeNode() as other,
        gateway_process(tmp_path, one, other, workers=TWO) as gateway,
        load(gateway, BODY) as done,
    ):
        nodes = (await gateway.fleet())["nodes"]
        drained = next(node["id"] for node in nodes if node["id"].endswith(str(one.port)))
        event = await gateway.order(f"/api/nodes/{drained}/drain", by="somebody")
        assert event["by"] == "somebody from 127.0.0.1"
        await gateway.order("/api/routing", oversize_pixels=123456)
        for pid in await gateway.workers():
            before = await gateway.workers()
            kill(pid)
            await gateway.until(lambda document, before=before: len(serving(document) - before) == 1)
        await more(done, 20)
        calls = len(one.calls)
        await more(done, 100)
        assert len(one.calls) == calls
        document = await gateway.until(lambda document: len(serving(document)) == 2)
        assert {node["id"]: node["state"] for node in document["nodes"]}[drained] == "draining"
        assert document["rules"]["oversize_pixels"] == 123456
        assert [e["reason"] for e in (await gateway.get("/api/journal"))["events"] if e["kind"] == "action"] == [
            "a test",
            "a test",
        ]


async def test_a_killed_worker_takes_with_it_only_what_it_had(tmp_path: Path):
    async with (
        FakeNode(lambda call: Reply(delay=0.02)) as node,
        gateway_process(tmp_path, node, workers=TWO) as gateway,
    ):
        async with load(gateway, BODY, clients=12) as done:
            await more(done, 100)
            victim = min(await gateway.workers())
            counted = await gateway.number("fleetgate_http_requests_total", route="predict")
            kill(victim)
            lowest = []
            while victim in await gateway.workers() or len(await gateway.workers()) < 2:
                lowest.append(await gateway.number("fleetgate_http_requests_total", route="predict"))
            await more(done, 200)
        # However the clients were spread: the kernel's hash may put all of them on one worker.
        assert len(done.lost) <= 12, "what each client had in flight, once"
        assert not [each for each in done.lost if "refused" in each]
        assert done.statuses == {200}
        assert all(number >= counted for number in lowest)
        document = await gateway.until(lambda document: document["verdict"]["level"] == "ok")
        assert victim not in serving(document)
        events = [event for event in (await gateway.get("/api/journal"))["events"] if event["kind"] == "worker"]
        assert any("SIGKILL" in event["text"] for event in events)


async def test_told_to_stop_it_finishes_what_has_begun(tmp_path: Path):
    async with FakeNode(lambda call: Reply(delay=0.5)) as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        pids = await gateway.workers()
        async with raw_client(gateway.public) as one, raw_client(gateway.public) as other:
            for client in (one, other):
                await client.send(request(BODY))
            await node.wait(lambda node: len(node.calls) == 2)
            gateway.signal(signal.SIGTERM)
            for client in (one, other):
                reply = await client.reply()
                assert (reply.status, reply.closes) == (200, True)
        assert await gateway.process.wait() == 0
        assert not any(map(alive, pids))
        with pytest.raises(ConnectionError):
            await exchange(gateway.public, request(BODY))


async def test_without_their_parent_workers_finish_and_leave(tmp_path: Path):
    async with FakeNode(lambda call: Reply(delay=0.3)) as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        pids = await gateway.workers()
        async with raw_client(gateway.public) as client:
            await client.send(request(BODY))
            await node.wait(lambda node: len(node.calls) == 1)
            gateway.signal(signal.SIGKILL)
            assert (await client.reply()).status == 200
        async with asyncio.timeout(20):
            while any(map(alive, pids)):
                await asyncio.sleep(0.05)


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers={**TWO, "hang_seconds": 2.0}) as gateway:
        hung = min(await gateway.workers())
        kill(hung, signal.SIGSTOP)
        noticed = await gateway.until(lambda document: len(serving(document)) < 2)
        assert noticed["verdict"]["level"] == "degraded"
        assert (await exchange(gateway.public, request(BODY))).status == 200
        await gateway.until(lambda document: len(serving(document)) == 2 and hung not in serving(document))
        assert not alive(hung)


async def test_a_worker_that_hangs_while_it_leaves_is_killed_in_the_end(tmp_path: Path):
    gate = asyncio.Event()
    async with (
        FakeNode(lambda call: Reply(gate=gate)) as node,
        gateway_process(tmp_path, node, workers=TWO, limits={"drain_seconds": 1.0}) as gateway,
        raw_client(gateway.public) as client,
    ):
        await client.send(request(BODY))
        await gateway.until(lambda document: document["gateway"]["in_flight"] == 1)
        gateway.configure(limits={"request_seconds": 20})
        gateway.signal(signal.SIGHUP)
        await gateway.until(lambda document: any(each["state"] == "leaving" for each in document["workers"]))
        leaving = await gateway.workers("leaving")
        for pid in leaving:
            kill(pid, signal.SIGSTOP)
        await gateway.until(lambda document: len(document["workers"]) == 2)
        assert not any(map(alive, leaving))
        gate.set()


async def test_actions_need_the_token_here_too(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        url = f"http://{gateway.operators}/api/routing"
        for headers, status in (
            ({}, 403),
            ({"X-Fleetgate-Action": "1", "Authorization": "Bearer wrong"}, 401),
        ):
            async with gateway.client.post(url, json={"reason": "a test", "policy": "p2c"}, headers=headers) as answer:
                assert answer.status == status
        headers = {"X-Fleetgate-Action": "1", "Authorization": f"Bearer {TOKEN}"}
        for body, status in (({"reason": "a test", "policy": "fastest"}, 400), ({"policy": "p2c"}, 400)):
            async with gateway.client.post(url, json=body, headers=headers) as answer:
                assert answer.status == status
                assert answer.content_type == "application/problem+json"
