"""Attempts on nodes: which failures are survived, which are told, and that every lease ends."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.fakes.gateway import jpeg, running
from tests.fakes.node import CUT, RESET, FakeNode, Reply
from tests.fakes.node_process import node_process

BODY = jpeg(size=2048)
PROBLEM = (("Content-Type", "application/problem+json"),)


def problem(code: str, status: int) -> Reply:
    document = {"type": f"urn:fleetgate:error:{code}", "status": status, "error": code}
    return Reply(status=status, body=json.dumps(document).encode(), headers=PROBLEM)


def first(bad: Reply, then: Reply | None = None):
    """A behaviour: `bad` for the first call, `then` ever after."""
    replies = iter([bad])
    return lambda call: next(replies, then or Reply())


async def test_the_answer_of_a_node_reaches_its_client():
    async with FakeNode() as node, running(node) as gateway:
        reply = await gateway.post(BODY, headers="X-Request-Id: mine\r\n")
        assert reply.status == 200
        assert json.loads(reply.body)["request_id"] == "mine"
        assert reply.headers["x-fleetgate-node"] == node.instance().id
        assert node.calls[0].body == BODY
        await gateway.settled()


@pytest.mark.parametrize(
    "bad",
    [
        Reply(read=100, end=RESET),
        Reply(raw=b"", end=CUT),
        Reply(raw=b"SSH-2.0-OpenSSH\r\n"),
        Reply(body=b"x" * 1000, cut=10, end=CUT),
        Reply(body=b"x" * 1000, cut=10, end=RESET),
        Reply(status=500, body=b"Traceback"),
        Reply(status=502, body=b"bad"),
        Reply(status=503, body=b"not now"),
        Reply(refuse=True),
        problem("draining", 503),
        problem("node-busy", 503),
    ],
    ids=repr,
)
async def test_another_node_answers_when_the_first_one_fails(bad):
    async with FakeNode() as one, FakeNode() as two, running(one, two) as gateway:
        one.behave = two.behave = first(bad)
        reply = await gateway.post(BODY)
        assert reply.status == 200
        assert reply.headers["x-fleetgate-attempts"] == "2"
        assert {call.sha256 for call in one.calls + two.calls if call.complete} == {json.loads(reply.body)["sha256"]}
        assert len(gateway.outcomes.last.retries) == 1
        await gateway.settled()


async def test_a_fault_of_the_input_is_told_and_not_retried():
    for code, status in (("undecodable", 422), ("bad-request", 400), ("model-failed", 500), ("deadline-missed", 504)):
        async with FakeNode() as one, FakeNode() as two, running(one, two) as gateway:
            one.behave = two.behave = lambda call, code=code, status=status: problem(code, status)
            reply = await gateway.post(BODY)
            assert (reply.status, json.loads(reply.body)["error"]) == (status, code)
            assert len(one.calls) + len(two.calls) == 1
            await gateway.settled()


async def test_a_busy_node_is_not_blamed():
    async with FakeNode(lambda call: Reply(refuse=True)) as one, FakeNode() as two, running(one, two) as gateway:
        for _ in range(20):
            assert (await gateway.post(BODY)).status == 200
        backend = gateway.gateway.fleet.backends[one.instance().id]
        assert (backend.errors, backend.standing.failures) == (0, 0)
        assert backend.usable


async def test_a_failing_node_is_left_alone_and_the_client_never_knows():
    async with FakeNode(lambda call: Reply(status=500)) as one, FakeNode() as two, running(one, two) as gateway:
        one.capacity = two.capacity = 1
        gateway.watcher.say([one.instance(), two.instance()])
        for _ in range(10):
            replies = await asyncio.gather(gateway.post(BODY), gateway.post(BODY))
            assert {reply.status for reply in replies} == {200}
        assert 1 <= gateway.gateway.fleet.backends[one.instance().id].errors <= 4


async def test_when_every_attempt_fails_the_last_error_is_told():
    async with (
        FakeNode(lambda call: Reply(read=10)) as one,
        FakeNode(lambda call: Reply(read=10)) as two,
        running(one, two) as gateway,
    ):
        reply = await gateway.post(BODY)
        assert reply.status == 502
        assert json.loads(reply.body)["type"].endswith("node-unreachable")
        assert reply.headers["x-fleetgate-attempts"] == "2"
        await gateway.settled()


async def test_a_node_that_is_gone_is_502_and_no_node_at_all_is_503_with_retry_after():
    async with FakeNode() as node, running(node, health={"probe_interval": 30}) as gateway:
        await node.stop()
        reply = await gateway.post(BODY)
        assert reply.status == 502
        gateway.watcher.say([])
        backend = gateway.gateway.fleet.backends
        gateway.gateway.fleet.probed(node.instance().id, ok=False, now=0.0)
        await gateway.until(lambda: not backend)
        reply = await gateway.post(BODY)
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1


async def test_retries_are_limited_by_a_budget():
    nodes = [FakeNode(lambda call: Reply(status=503, body=b"{}")) for _ in range(3)]
    async with (
        nodes[0],
        nodes[1],
        nodes[2],
        running(*nodes, retry={"budget": 0.2, "budget_min": 0.5}) as gateway,
    ):
        replies = [await gateway.post(BODY) for _ in range(50)]
        assert {reply.status for reply in replies} == {503}
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies)
        attempts = sum(outcome.attempts for outcome in gateway.outcomes.all)
        assert attempts <= 50 * 1.2 + 5


async def test_a_node_killed_while_it_works_loses_nothing():
    async with (
        node_process("--latency", "0.05") as one,
        node_process("--latency", "0.05") as two,
        running(one, two, retry={"budget_min": 100}) as gateway,
    ):

        async def ask() -> int:
            return (await gateway.post(BODY)).status

        asking = [asyncio.create_task(ask()) for _ in range(12)]
        await gateway.until(lambda: gateway.in_flight >= 8)
        one.kill()
        assert {await task for task in asking} == {200}
        assert await ask() == 200
        await gateway.settled()


async def test_what_a_stopped_node_holds_is_answered_by_another():
    async with node_process() as one, node_process() as two:
        health = {"probe_interval": 0.2, "probe_timeout": 0.2}
        async with running(one, two, health=health, retry={"budget_min": 100}) as gateway:
            one.pause()
            replies = await asyncio.gather(*(gateway.post(BODY) for _ in range(8)))
            assert {reply.status for reply in replies} == {200}
            assert any(outcome.retries for outcome in gateway.outcomes.all)
            one.resume()
            await gateway.until(lambda: all(backend.usable for backend in gateway.gateway.fleet.backends.values()))
            await gateway.settled()


async def test_oversized_images_go_to_the_heavy_pool_and_say_so():
    async with (
        FakeNode() as light,
        FakeNode(pool="heavy", max_pixels=200_000_000) as heavy,
        running(light, heavy) as gateway,
    ):
        small = await gateway.post(jpeg(640, 480))
        large = await gateway.post(jpeg(10_000, 10_000))
        assert (small.headers["x-fleetgate-pool"], large.headers["x-fleetgate-pool"]) == ("light", "heavy")
        assert len(heavy.calls) == 1
        reply = await gateway.post(jpeg(60_000, 60_000))
        assert reply.status == 413
        assert json.loads(reply.body)["limit_pixels"] == 200_000_000


async def test_the_timeout_of_the_open_inference_protocol_is_a_deadline():
    async with FakeNode(lambda call: Reply(hang=True)) as node, running(node) as gateway:
        image = jpeg(size=500)
        tensor = '{"name":"image","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":504}}'
        text = ('{"parameters":{"timeout":300000},"inputs":[' + tensor + "]}").encode()
        body = text + len(image).to_bytes(4, "little") + image
        headers = f"Inference-Header-Content-Length: {len(text)}\r\n"
        reply = await gateway.post(body, "/v2/models/toy/infer", headers)
        assert reply.status == 504
        assert gateway.outcomes.last.pixels == 640 * 480
        assert re.fullmatch("[0-9]+", node.calls[0].header("x-envoy-expected-rq-timeout-ms"))
