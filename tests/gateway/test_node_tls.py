"""TLS to nodes: who is believed, and that nothing is sent to anybody else."""

import ssl
from pathlib import Path

import pytest

from gateway.node_client import NodeClient
from tests.fakes.node import FakeNode, Reply
from tests.fakes.outgoing import Outgoing, Target, upload
from wire.errors import NodeUnreachable

LOOPS = ["uvloop", "asyncio"]
MIB = 1 << 20
CERTIFICATES = Path(__file__).parents[1] / "fakes" / "certificates"


def of_node(name: str, ask_for_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / f"{name}.pem")
    if ask_for_certificate:
        context.load_verify_locations(CERTIFICATES / "fleet-ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def of_gateway(certificate: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(CERTIFICATES / "fleet-ca.pem"))
    if certificate:
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    return context


async def test_a_node_with_a_good_certificate_is_spoken_to() -> None:
    async with FakeNode(ssl_context=of_node("node")) as node:
        one = NodeClient(5.0, MIB, ssl_context=of_gateway())
        for _ in range(3):
            answer = await one.attempt(Target(node.instance()), Outgoing(b"x" * MIB), 5000)
            assert answer.status == 200
        assert answer.reused
        assert node.calls[0].body == b"x" * MIB
        await one.close()


async def test_streams_and_long_answers_go_through_tls_too() -> None:
    async def source():
        for _ in range(40):
            yield b"y" * 65536

    async with FakeNode(lambda call: Reply(body=b"x" * 8 * MIB), ssl_context=of_node("node")) as node:
        one = NodeClient(5.0, MIB, ssl_context=of_gateway())
        answer = await one.attempt(Target(node.instance()), upload(source, None), 10_000)
        assert answer.rest is not None
        length = sum(map(len, answer.body)) + sum([len(piece) async for piece in answer.rest])
        assert length == 8 * MIB
        assert len(node.calls[0].body) == 40 * 65536
        await one.close()


@pytest.mark.parametrize("certificate", ["stranger", "elsewhere", "expired"])
async def test_a_node_with_a_bad_certificate_is_sent_nothing(certificate: str) -> None:
    async with FakeNode(ssl_context=of_node(certificate)) as node:
        one = NodeClient(5.0, MIB, ssl_context=of_gateway())
        with pytest.raises(NodeUnreachable, match="certificate"):
            await one.attempt(Target(node.instance()), Outgoing(b"secret"), 5000)
        assert not node.calls
        await one.close()


async def test_a_plain_node_is_sent_nothing_whatever_the_registry_says() -> None:
    async with FakeNode(lambda call: Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n", early=True)) as node:
        one = NodeClient(0.5, MIB, ssl_context=of_gateway())
        with pytest.raises(NodeUnreachable):
            await one.attempt(Target(node.instance(tls=False)), Outgoing(b"secret"), 5000)
        assert not node.calls
        await one.close()


async def test_a_node_that_wants_tls_is_not_spoken_to_without() -> None:
    async with FakeNode(ssl_context=of_node("node")) as node:
        one = NodeClient(5.0, MIB)
        with pytest.raises(NodeUnreachable, match="wants TLS"):
            await one.attempt(Target(node.instance()), Outgoing(b"secret"), 5000)
        assert node.accepted == 0
        await one.close()


async def test_a_node_may_ask_who_the_gateway_is() -> None:
    async with FakeNode(ssl_context=of_node("node", ask_for_certificate=True)) as node:
        one = NodeClient(5.0, MIB, ssl_context=of_gateway("gateway"))
        assert (await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)).status == 200
        await one.close()
        for stranger in ("", "stranger"):
            one = NodeClient(5.0, MIB, ssl_context=of_gateway(stranger))
            with pytest.raises(NodeUnreachable):
                await one.attempt(Target(node.instance()), Outgoing(b"x"), 5000)
            await one.close()
        assert len(node.calls) == 1
