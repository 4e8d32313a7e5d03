"""Connections kept warm: which is used, which are closed, and where none is ever made."""

import asyncio
import contextlib
import socket

import pytest

from discovery.instance import Instance
from discovery.networks import parse_networks
from gateway.node_client import NodeClient
from tests.fakes.node import FakeNode, Reply
from tests.fakes.outgoing import Outgoing, Target, until
from wire.errors import NodeUnreachable

LOOPS = ["uvloop", "asyncio"]
MIB = 1 << 20
HOSTILE = [
    "169.254.169.254",
    "169.254.0.1",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "fe80::1",
    "fe80::1%lo",
    "localhost",
    "metadata.google.internal",
    "user@127.0.0.1",
    "127.0.0.1/path",
    "100.100.100.200",
    "",
]


async def burst(one: NodeClient, node: FakeNode, count: int) -> None:
    await asyncio.gather(*[one.attempt(Target(node.instance()), Outgoing(b"x"), 5000) for _ in range(count)])


async def test_the_connection_used_last_is_used_next() -> None:
    async with FakeNode(lambda call: Reply(delay=0.05)) as node:
        one = NodeClient(1.0, MIB)
        await burst(one, node, 5)
        node.behave = lambda call: Reply()
        for _ in range(10):
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
        assert len({call.connection for call in node.calls[5:]}) == 1
        assert one.pool.idle == 5
        await one.close()


async def test_what_is_idle_too_long_is_closed_and_what_is_in_use_stays() -> None:
    async with FakeNode(lambda call: Reply(delay=0.05)) as node:
        one = NodeClient(1.0, MIB, idle_seconds=0.2)
        await burst(one, node, 5)
        node.behave = lambda call: Reply()
        while one.pool.open > 1:
            await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
            await asyncio.sleep(0.01)
        await node.wait(lambda n: len(n.open) == 1)
        await until(lambda: not one.pool.open)
        await one.close()


async def test_more_idle_connections_than_allowed_are_closed() -> None:
    async with FakeNode(lambda call: Reply(delay=0.1), capacity=10) as node:
        one = NodeClient(1.0, MIB)
        await burst(one, node, 20)
        assert one.pool.idle == 10
        await node.wait(lambda n: len(n.open) == 10)
        await one.close()


async def test_a_node_that_left_is_forgotten() -> None:
    async with FakeNode(lambda call: Reply(delay=0.02)) as node:
        one = NodeClient(1.0, MIB)
        await burst(one, node, 3)
        one.pool.forget(node.instance())
        await node.wait(lambda n: not n.open)
        assert one.pool.idle == 0
        await one.close()


@pytest.mark.parametrize("host", HOSTILE)
async def test_no_packet_goes_where_no_node_may_live(host: str) -> None:
    async with FakeNode() as node:
        one = NodeClient(1.0, MIB, networks=parse_networks(["10.0.0.0/8"]))
        target = Target(Instance(id="evil", host=host, port=node.port))
        with pytest.raises(NodeUnreachable, match="may live"):
            await one.attempt(target, Outgoing(b"x"), 5000)
        assert (node.accepted, one.pool.open) == (0, 0)
        await one.close()


async def test_a_node_that_does_not_accept_cannot_be_reached_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        one = NodeClient(0.1, MIB)
        target = Target(Instance(id="full", host="127.0.0.1", port=full.getsockname()[1]))
        with pytest.raises(NodeUnreachable, match="not in time"):
            await one.attempt(target, Outgoing(b"x"), 5000)
        assert one.pool.open == 0
        await one.close()


async def test_an_allowed_name_that_leads_elsewhere_is_not_followed() -> None:
    async with FakeNode() as node:
        target = Target(Instance(id="evil", host="localhost", port=node.port))
        one = NodeClient(1.0, MIB, networks=parse_networks(["10.0.0.0/8", "localhost"]))
        with pytest.raises(NodeUnreachable, match="name leads"):
            await one.attempt(target, Outgoing(b"x"), 5000)
        assert node.accepted == 0
        await one.close()


async def test_an_allowed_name_is_followed_to_an_allowed_address() -> None:
    async with FakeNode() as node:
        target = Target(Instance(id="good", host="localhost", port=node.port))
        one = NodeClient(1.0, MIB, networks=parse_networks(["127.0.0.0/8", "::1/128", "localhost"]))
        answer = await one.attempt(target, Outgoing(b"x"), 5000)
        assert answer.status == 200
        assert node.calls[0].header("Host") == f"localhost:{node.port}"
        await one.close()
