"""A node behind TLS: who may ask it, what it announces, and a certificate renewed while it serves."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from discovery.consul.registrar import health_check
from node.app import Node
from tests.fakes.authority import Authority
from tests.fakes.gateway import request
from tests.fakes.raw_client import raw_client
from tests.fakes.serving import picture, serving, until
from tls.config import ServerTls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def options(authority: Authority, **more: object) -> ServerTls:
    cert, key = authority.issue("node")
    return ServerTls(cert_file=str(cert), key_file=str(key), look_seconds=0.05, **more)  # type: ignore[arg-type]


async def ask(node: Node, context: ssl.SSLContext) -> tuple[int, int]:
    """The status of an inference, and the serial number of the certificate that was shown."""
    async with raw_client(node.address, context) as client:
        await client.send(request(picture()))
        reply = await client.reply()
        shown = client.writer.get_extra_info("ssl_object").getpeercert()
        return reply.status, int(shown["serialNumber"], 16)


async def test_only_the_gateways_certificate_gets_an_answer(authority: Authority, tmp_path: Path):
    tls = options(authority, client_ca_file=str(authority.ca))
    async with serving(tmp_path, tls=tls) as served:
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await ask(served.node, authority.client())
        status, _ = await ask(served.node, authority.client(authority.issue("gateway")))
        assert status == 200


async def test_it_announces_that_it_speaks_tls_and_consul_only_knocks(authority: Authority, tmp_path: Path):
    async with serving(tmp_path, tls=options(authority)) as served:
        instance = served.node._instance()
        assert instance.tls
        assert health_check(instance)["tcp"] == served.address


async def test_a_renewed_certificate_is_shown_and_its_end_is_a_metric(authority: Authority, tmp_path: Path):
    async with serving(tmp_path, tls=options(authority)) as served:
        context = authority.client()
        _, first = await ask(served.node, context)
        before = ends(served.node)
        authority.issue("node", days=2)
        await until(lambda: ends(served.node) > before + 80_000)
        status, second = await ask(served.node, context)
        assert status == 200
        assert second != first


def ends(node: Node) -> float:
    families = {family.name: family for family in text_string_to_metric_families(node.metrics.page().decode())}
    (sample,) = families["inference_tls_certificate_expiry_timestamp_seconds"].samples
    return float(sample.value)
