"""Attempts that fail, over real sockets: which error each failure is, and that nobody else notices."""

import asyncio

import pytest

from tests.fakes.attempts import always, client, content, pieces, settled
from tests.fakes.node import Call, FakeNode, Reply
from tests.fakes.node_process import node_process
from tests.fakes.outgoing import Outgoing, Target, until, upload
from wire.errors import DeadlineMissed, NodeGarbage, NodeUnreachable, WireError

LOOPS = ["uvloop", "asyncio"]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"raw": b"<html>", "end": "close"}, NodeGarbage),
        ({"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}, NodeGarbage),
        ({"says": 3}, NodeGarbage),
        ({"says": 3000, "end": "close"}, NodeGarbage),
        ({"cut": 5, "end": "close"}, NodeGarbage),
        ({"cut": 5, "end": "reset"}, NodeGarbage),
        ({"chunked": True, "cut": 5, "end": "close"}, NodeGarbage),
        ({"raw": b"HTTP/1.1 200 OK\r\nContent-Le", "end": "close"}, NodeGarbage),
        ({"raw": b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"}, NodeGarbage),
        ({"raw": b"", "end": "close"}, NodeUnreachable),
        ({"raw": b"", "end": "reset"}, NodeUnreachable),
        ({"read": 100}, NodeUnreachable),
        ({"hang": True}, DeadlineMissed),
        ({"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"}, DeadlineMissed),
        ({"raw": b"HTTP/1.1 100 Continue\r\n\r\n"}, DeadlineMissed),
    ],
)
async def test_a_failure_is_its_error_and_the_next_request_knows_nothing_of_it(
    reply: dict[str, object], error: type[WireError]
) -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        for bad in (False, True, False, True, False):
            node.behave = always(**reply) if bad else always()
            for request in (Outgoing(b"x" * 100_000, request_id="r"), upload(lambda: pieces(2), None, "r")):
                if bad:
                    with pytest.raises(error):
                        await one.attempt(target, request, 300)
                else:
                    assert content(await one.attempt(target, request, 5000))["request_id"] == "r"
        await node.wait(lambda n: len(n.open) == one.pool.open)
        await until(lambda: settled(one))


async def test_a_node_that_is_not_there_cannot_be_reached() -> None:
    async with FakeNode() as node:
        target = Target(node.instance())
    async with client() as one:
        with pytest.raises(NodeUnreachable, match="refused"):
            await one.attempt(target, Outgoing(b"x"), 5000)


async def test_a_node_that_resets_every_connection_cannot_be_reached() -> None:
    async with FakeNode(reset_at_accept=True) as node, client() as one:
        with pytest.raises(NodeUnreachable):
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)


async def test_no_time_left_is_not_asked_with() -> None:
    async with FakeNode() as node, client() as one:
        for _ in range(2):
            with pytest.raises(NodeUnreachable):
                await one.attempt(Target(node.instance()), Outgoing(b"x"), -1)
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
        assert len(node.calls) == 2


async def test_connections_closed_while_idle_fail_no_request() -> None:
    async with FakeNode(close_idle=True) as node, client() as one:
        target = Target(node.instance())

        async def post(worker: int) -> None:
            for number in range(100):
                request = Outgoing(b"x", request_id=f"{worker}-{number}")
                assert content(await one.attempt(target, request, 5000))["request_id"] == request.request_id

        await asyncio.gather(*map(post, range(10)))
        assert len(node.count) == 1000
        assert set(node.count.values()) == {1}


async def test_an_answer_that_nobody_asked_for_ends_the_connection_and_reaches_nobody() -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        for _ in range(5):
            await one.attempt(target, Outgoing(b"x", request_id="a"), 5000)
            (writer,) = node.open
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            await until(lambda: not one.pool.open)
            answer = await one.attempt(target, Outgoing(b"x", request_id="b"), 5000)
            assert content(answer)["request_id"] == "b"
        assert node.accepted == 6


async def test_an_answer_to_another_request_is_garbage() -> None:
    def shifted(call: Call) -> Reply:
        return Reply(echo_id=False, headers=(("X-Request-Id", "somebody-else"),))

    async with FakeNode(shifted) as node, client() as one:
        with pytest.raises(NodeGarbage):
            await one.attempt(Target(node.instance()), Outgoing(b"x", request_id="mine"), 5000)
        assert one.pool.idle == 0
        await one.attempt(Target(node.instance(protocol="oip")), Outgoing(b"x", request_id="mine"), 5000)


async def test_a_missed_deadline_is_seen_by_the_node() -> None:
    async with FakeNode(always(hang=True)) as node, client() as one:
        with pytest.raises(DeadlineMissed):
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 50)
        await node.wait(lambda n: n.calls[0].ended == "gone")


async def test_a_cancelled_attempt_is_seen_by_the_node() -> None:
    async with FakeNode(always(hang=True)) as node, client() as one:
        for request in (Outgoing(b"x"), upload(lambda: pieces(2), None)):
            attempt = asyncio.ensure_future(one.attempt(Target(node.instance()), request, 5000))
            await node.wait(lambda n: bool(n.calls) and n.calls[-1].complete)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await node.wait(lambda n: n.calls[-1].ended == "gone")
            node.calls.clear()


async def test_a_cancel_in_the_moment_of_the_answer_harms_no_other_request() -> None:
    async with FakeNode() as node, client() as one:
        target = Target(node.instance())
        for number in range(50):
            attempt = asyncio.ensure_future(one.attempt(target, Outgoing(b"x"), 5000))
            await until(lambda: node.calls and node.calls[-1].ended and one.pool.idle)
            node.calls.clear()
            attempt.cancel()
            answer = await one.attempt(target, Outgoing(b"x", request_id=f"n{number}"), 5000)
            assert content(answer)["request_id"] == f"n{number}"
            await asyncio.wait([attempt])
        await until(lambda: settled(one))


async def test_a_node_killed_while_it_works_is_an_error_at_once() -> None:
    async with node_process("--latency", "30") as process, client() as one:
        attempt = asyncio.ensure_future(one.attempt(Target(process.instance()), Outgoing(b"x"), 20_000))
        await until(lambda: one.pool.open)
        process.kill()
        with pytest.raises(NodeUnreachable):
            await attempt
        with pytest.raises(NodeUnreachable):
            await one.attempt(Target(process.instance()), Outgoing(b"x"), 20_000)


async def test_closing_ends_what_is_under_way() -> None:
    async with FakeNode(always(hang=True)) as node:
        async with client() as one:
            attempts = [
                asyncio.ensure_future(one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)) for _ in range(3)
            ]
            await node.wait(lambda n: len(n.calls) == 3)
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert all(isinstance(result, NodeUnreachable) for result in results)
