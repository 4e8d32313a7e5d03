"""Long answers of nodes: handed on as they come, at their reader's pace, or given up."""

import asyncio

import pytest

from gateway.node_answer import Answer
from tests.fakes.attempts import MIB, always, client, settled, whole
from tests.fakes.node import Call, FakeNode, Reply
from tests.fakes.outgoing import Outgoing, Target, until
from wire.errors import DeadlineMissed, NodeGarbage

LOOPS = ["uvloop", "asyncio"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_answer_is_handed_on_while_it_comes(chunked: bool) -> None:
    body = bytes(range(256)) * 20_000
    async with FakeNode(always(body=body, chunked=chunked)) as node, client() as one:
        for _ in range(2):
            answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
            assert answer.rest is not None
            assert answer.length == (None if chunked else len(body))
            assert await whole(answer) == body
        assert (one.pool.open, one.pool.idle) == (1, 1)


async def test_a_long_answer_waits_for_its_reader() -> None:
    sent = 0

    def body(call: Call) -> bytes:
        return b"x" * 64 * MIB

    class Counting(FakeNode):
        async def _answer(self, call: Call, reply: Reply, writer: asyncio.StreamWriter) -> None:
            await super()._answer(call, reply, writer)
            nonlocal sent
            sent += 1

    async with Counting(always(body=body)) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 20_000)
        await asyncio.sleep(0.2)
        assert sent == 0  # the node could not yet send it all
        assert sum(map(len, answer.body)) < 3 * MIB
        assert len(await whole(answer)) == 64 * MIB


@pytest.mark.parametrize("how", ["discard", "forget", "cancel"])
async def test_a_long_answer_that_nobody_reads_to_its_end_closes_its_connection(how: str) -> None:
    async with FakeNode(always(body=b"x" * 32 * MIB)) as node, client() as one:
        answer: Answer | None = await one.attempt(Target(node.instance()), Outgoing(b"x"), 20_000)
        assert answer is not None
        assert answer.rest is not None
        await anext(aiter(answer.rest))
        if how == "discard":
            answer.discard()
        elif how == "cancel":
            reading = asyncio.ensure_future(whole(answer))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        answer = reading = None  # the last references
        await node.wait(lambda n: not n.open)
        await until(lambda: settled(one))
        assert one.pool.open == 0


async def test_a_long_answer_that_breaks_off_is_garbage_to_its_reader() -> None:
    async with FakeNode(always(body=b"x" * 8 * MIB, cut=3 * MIB, end="close")) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
        with pytest.raises(NodeGarbage):
            await whole(answer)


async def test_a_node_that_stops_in_a_long_answer_is_given_up() -> None:
    behave = always(body=b"x" * 2 * MIB, piece=MIB + 200_000, piece_delay=60.0)
    async with FakeNode(behave) as node, client(stall_seconds=0.1) as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
        with pytest.raises(DeadlineMissed):
            await whole(answer)
        await until(lambda: settled(one))


async def test_a_deadline_is_over_once_an_answer_has_begun_to_flow() -> None:
    async with FakeNode(always(body=b"x" * 3 * MIB, piece=MIB + 1000, piece_delay=0.2)) as node, client() as one:
        answer = await one.attempt(Target(node.instance()), Outgoing(b"x"), 300)
        await asyncio.sleep(0.3)
        assert len(await whole(answer)) == 3 * MIB
