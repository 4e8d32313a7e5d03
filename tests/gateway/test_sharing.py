"""Several gateways on the same nodes, over real sockets: nobody is blamed, nothing stays held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.sharing import Line, next_pause
from loadtest.simulate.machines import Machine
from tests.fakes.gateway import Running, head, jpeg, running
from tests.fakes.granting import SECONDS, Stream, emulated, image, stream
from tests.fakes.node import FakeNode
from wire.grants import Ask, Beat, Drop, Others, Yes

OPEN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LIGHT = Machine(name="light-0", pool="light", speed=1.0)
TWO = Machine(name="light-1", pool="light", speed=1.0, slots=2)


def known(gateway: Running, node: str = "light-0") -> int:
    """How many gateways a node says it has."""
    return gateway.gateway.fleet.backends[node].gateways


async def test_a_node_tells_its_gateways_how_many_they_are() -> None:
    async with emulated(LIGHT) as nodes, running(*nodes) as one:
        await one.until(lambda: known(one) == 1)
        async with running(*nodes) as two:
            await one.until(lambda: known(one) == known(two) == 2)
        await one.until(lambda: known(one) == 1)


async def test_many_requests_at_two_gateways_are_all_answered_and_nobody_is_blamed() -> None:
    async with emulated(LIGHT, TWO) as nodes, running(*nodes) as one, running(*nodes) as two:
        await one.until(lambda: known(one) == known(two) == known(one, "light-1") == 2)
        body = image(0.1)
        replies = await asyncio.gather(*[gateway.post(body) for _ in range(40) for gateway in (one, two)])
        assert {reply.status for reply in replies} == {200}
        for gateway in (one, two):
            await gateway.settled()
            assert gateway.gateway.sharing.grants.counts["yes"] > 0
            assert gateway.gateway.sharing.grants.open == 0
            assert all(not each.errors for each in gateway.gateway.fleet.backends.values())
        backends = one.gateway.fleet.backends
        await one.until(lambda: all(each.open and not each.left_ms for each in backends.values()))


async def test_a_client_that_leaves_while_a_node_is_asked_takes_its_ask_along() -> None:
    async with emulated(LIGHT) as nodes, running(*nodes) as one, stream(nodes[0].address, "other") as other:
        await one.until(lambda: known(one) == 2)
        async with one.client() as first, one.client() as second:
            body = image(5)
            for client in (first, second):
                await client.send(head(len(body)), body)
            await one.until(lambda: one.gateway.api.in_flight == 2)
        await one.settled()
        await other.until(Others(2, [], []))


async def test_a_gateway_that_dies_with_a_grant_holds_nobody_up() -> None:
    async with emulated(LIGHT) as nodes, running(*nodes) as one, stream(nodes[0].address, "dead") as dead:
        await granted(one, dead)
        dead.kill()
        await one.until(lambda: known(one) == 1)
        assert (await one.post(image(0.1))).status == 200


async def test_a_gateway_that_hangs_with_a_grant_holds_others_up_for_a_second_at_most() -> None:
    async with emulated(LIGHT) as nodes, running(*nodes) as one, stream(nodes[0].address, "hung") as hung:
        await granted(one, hung)
        assert (await one.post(image(0.1))).status == 200
        assert known(one) == 2


async def granted(gateway: Running, other: Stream) -> None:
    await gateway.until(lambda: known(gateway) == 2)
    await other.say(Ask(1, 0.0, 60_000.0, False))
    assert await other.hear(Yes) == Yes(1)
    await gateway.until(lambda: not gateway.gateway.fleet.backends["light-0"].open)


async def test_a_node_that_comes_back_is_shared_again() -> None:
    async with emulated(LIGHT) as nodes, running(*nodes) as one, running(*nodes) as two:
        await one.until(lambda: known(one) == known(two) == 2)
        for gateway in (one, two):  # as when the node's process ends
            for line in list(gateway.gateway.sharing._lines.values()):
                line.close()
        await one.until(lambda: known(one) != 2)
        await one.until(lambda: known(one) == known(two) == 2)
        assert (await two.post(image(0.1))).status == 200


async def test_a_node_without_streams_is_used_as_ever() -> None:
    async with FakeNode() as node, running(node) as one:
        assert (await one.post(jpeg(size=2048))).status == 200
        assert one.gateway.fleet.backends[node.instance().id].gateways == 0
        assert not any(name == "X-Fleetgate-Grant" for name, _ in node.calls[0].headers)


async def test_a_body_that_will_be_streamed_asks_for_a_slot_even_if_nobody_wants_it() -> None:
    async with emulated(LIGHT) as nodes, running(*nodes, limits={"replay_bytes": 1000}) as one, running(*nodes) as two:
        await one.until(lambda: known(one) == known(two) == 2)
        body = image(7)
        async with one.client() as client:
            await client.send(
                f"POST /v1/predict HTTP/1.1\r\nHost: g\r\nContent-Length: {len(body)}\r\n\r\n", body[:5000]
            )
            await one.until(lambda: one.gateway.sharing.grants.counts["yes"] == 1)
            await client.send(body[5000:])
            assert (await client.reply()).status == 200
        assert (await two.post(body)).status == 200
        assert two.gateway.sharing.grants.counts == {"yes": 0, "no": 0, "lost": 0}


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n????",
        b"\0\1\2\r\n\r\n",
        OPEN + b"fffff\r\n" + b"x" * 0xFFFFF,
        OPEN + b"5\r\n[[[[\n\r\n",
    ],
    ids=["another protocol", "no HTTP", "a line without end", "no line"],
)
async def test_a_stream_that_says_nonsense_is_closed_and_nothing_else_breaks(said: bytes) -> None:
    async with speaking(said) as (line, broken):
        async with asyncio.timeout(SECONDS):
            await line.over
        assert not line.say(Beat())
        assert broken == []


async def test_a_node_that_speaks_and_does_not_listen_is_told_no_more() -> None:
    async with speaking(OPEN) as (line, _):
        async with asyncio.timeout(SECONDS):
            while line.status != 200:
                await asyncio.sleep(0.01)
            while line.say(Drop(1)):
                pass
            await line.over


@asynccontextmanager
async def speaking(said: bytes) -> AsyncIterator[tuple[Line, list[dict[str, Any]]]]:
    """A stream to a node that says this and never reads; what broke in the loop."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    async def node(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's
        writer.write(said)
        await over.wait()
        writer.transport.abort()

    broken: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: broken.append(context))
    line = Line(b"POST / HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n", lambda _: None)
    async with await asyncio.start_server(node, "127.0.0.1", 0) as server:
        await loop.create_connection(lambda: line, *server.sockets[0].getsockname())
        yield line, broken
        line.close()
        over.set()


def pauses(status: int) -> list[float]:
    found = [0.1]
    while len(found) < 15:
        found.append(next_pause(found[-1], status, spoke=False))
    return found


@pytest.mark.parametrize(("status", "most"), [(0, 5.0), (503, 5.0), (200, 60.0), (400, 60.0), (404, 60.0)])
def test_a_stream_that_said_nothing_is_opened_less_and_less_often_to_what_seems_foreign_most_of_all(
    status: int, most: float
) -> None:
    waits = pauses(status)
    assert waits == sorted(waits)
    assert waits[-1] == most


def test_a_stream_that_spoke_is_opened_again_at_once() -> None:
    assert next_pause(60.0, 200, spoke=True) == 0.1


def test_who_knows_of_no_streams_is_not_asked_again_for_a_minute() -> None:
    assert next_pause(0.1, 404, spoke=False) == 60.0
