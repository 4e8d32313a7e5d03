"""A whole gateway before nodes that speak TLS: requests and probes, names, renewal."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from tests.fakes.authority import CERTIFICATES, Authority
from tests.fakes.gateway import jpeg, running
from tests.fakes.node import FakeNode


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def encrypted(authority: Authority) -> FakeNode:
    """A node that speaks TLS, and asks who connects."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
    context.load_cert_chain(*authority.issue("node"))
    context.verify_mode = ssl.CERT_REQUIRED
    return FakeNode(ssl_context=context)


async def test_requests_and_probes_show_our_certificate(authority: Authority):
    cert, key = authority.issue("gateway")
    options = {"ca_file": str(authority.ca), "cert_file": str(cert), "key_file": str(key)}
    async with encrypted(authority) as node, running(node, node_tls=options) as gateway:
        assert (await gateway.post(jpeg())).status == 200
        await gateway.until(lambda: node.probes >= 2)
        (backend,) = gateway.gateway.fleet.backends.values()
        assert backend.standing.probed is True


async def test_without_a_certificate_the_node_is_never_healthy(authority: Authority):
    options = {"ca_file": str(authority.ca)}
    async with encrypted(authority) as node, running(node, node_tls=options) as gateway:
        (backend,) = gateway.gateway.fleet.backends.values()
        await gateway.until(lambda: backend.standing.probed is False)
        assert (await gateway.post(jpeg())).status in (502, 503)
        assert not node.calls


async def test_a_fixed_name_stands_for_all_addresses(authority: Authority):
    cert, key = authority.issue("gateway")
    for name, good in (("localhost", True), ("elsewhere", False)):
        options = {"ca_file": str(authority.ca), "cert_file": str(cert), "key_file": str(key), "server_name": name}
        async with encrypted(authority) as node, running(node, node_tls=options) as gateway:
            (backend,) = gateway.gateway.fleet.backends.values()
            await gateway.until(lambda backend=backend: backend.standing.probed is not None)
            assert backend.standing.probed is good


async def test_our_renewed_certificate_is_shown_to_nodes(authority: Authority):
    mine = authority.folder / "mine.pem"
    shutil.copy(CERTIFICATES / "stranger.pem", mine)
    options = {"ca_file": str(authority.ca), "cert_file": str(mine), "look_seconds": 0.05}
    async with encrypted(authority) as node, running(node, node_tls=options) as gateway:
        (backend,) = gateway.gateway.fleet.backends.values()
        await gateway.until(lambda: backend.standing.probed is False)
        cert, key = authority.issue("gateway")
        mine.write_bytes(cert.read_bytes() + key.read_bytes())
        await gateway.until(lambda: backend.standing.probed is True)
        assert (await gateway.post(jpeg())).status == 200
