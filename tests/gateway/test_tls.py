"""TLS on the public side: real handshakes, renewal while requests are under way, and who is not let in."""

from __future__ import annotations

import asyncio
import http.client
import logging
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.authority import CERTIFICATES, Authority
from tests.fakes.gateway import Running, head, jpeg, request, running
from tests.fakes.node import FakeNode, Reply

LOOK = 0.05  # seconds between two looks at the files


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(pair: tuple[Path, Path], **options: Any) -> dict[str, Any]:
    return {"cert_file": str(pair[0]), "key_file": str(pair[1]), "look_seconds": LOOK, **options}


def shown_by(client: Any) -> int:
    """The serial number of the certificate that this client was shown."""
    certificate: dict[str, Any] = client.writer.get_extra_info("ssl_object").getpeercert()
    return int(certificate["serialNumber"], 16)


async def post(gateway: Running, context: ssl.SSLContext) -> int:
    async with gateway.client(context) as client:
        await client.send(request(jpeg()))
        return (await client.reply()).status


async def serial(gateway: Running, context: ssl.SSLContext) -> int:
    async with gateway.client(context) as client:
        return shown_by(client)


async def test_ordinary_clients_are_served_and_nodes_are_told_that_it_was_https(authority: Authority):
    async with FakeNode() as node, running(node, tls=tls(authority.issue("public"))) as gateway:
        port = int(gateway.address.rpartition(":")[2])

        def ask() -> int:
            client = http.client.HTTPSConnection("localhost", port, context=authority.client(), timeout=20)
            for _ in range(3):
                client.request("POST", "/v1/predict", jpeg())
                answer = client.getresponse()
                answer.read()
            client.close()
            return answer.status

        assert await asyncio.to_thread(ask) == 200
        assert {call.header("X-Forwarded-Proto") for call in node.calls} == {"https"}
        assert len(node.calls) == 3


async def test_curl_gets_its_answer_by_tls_1_2_and_1_3_and_http_1_1(authority: Authority):
    async with FakeNode() as node, running(node, tls=tls(authority.issue("public"))) as gateway:
        for version in ("1.2", "1.3"):
            process = await asyncio.create_subprocess_exec(
                *("curl", "--silent", "--http2", "--tlsv1.2", "--tls-max", version, "--cacert", authority.ca),
                *("--data-binary", "@-", "--write-out", "\n%{http_code} %{http_version}"),
                f"https://{gateway.address}/v1/predict",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await process.communicate(jpeg(size=200_000))
            assert said.splitlines()[-1] == b"200 1.1"


async def test_large_bodies_both_ways(authority: Authority):
    answer = bytes(range(256)) * 8192
    async with (
        FakeNode(lambda call: Reply(body=answer)) as node,
        running(node, tls=tls(authority.issue("public"))) as gateway,
        gateway.client(authority.client()) as client,
    ):
        body = jpeg(size=5_000_000)
        for _ in range(2):
            await client.send(request(body))
            assert (await client.reply()).body == answer
        assert [call.body for call in node.calls] == [body, body]
        assert not gateway.gateway.api.bytes.held


async def test_a_renewed_certificate_is_shown_to_new_clients_while_old_ones_go_on(authority: Authority):
    pair = authority.issue("public")
    context = authority.client()
    async with (
        FakeNode(lambda call: Reply(delay=0.005)) as node,
        running(node, tls=tls(pair)) as gateway,
        gateway.client(context) as steady,
    ):
        first = shown_by(steady)
        asked = 0
        for renewal in range(3):
            authority.issue("public", days=2 + renewal)
            seen = first
            while seen == first:
                await steady.send(request(jpeg()))
                assert (await steady.reply()).status == 200
                asked += 1
                seen = await serial(gateway, context)
            first = seen
        assert node.accepted
        assert len(node.calls) == asked


@pytest.mark.parametrize("broken", ["half a certificate", "another key", "no key", "empty"])
async def test_a_bad_pair_is_never_used_and_the_next_good_one_is(authority: Authority, broken: str, caplog):
    caplog.set_level(logging.INFO)
    pair = cert, key = authority.issue("public")
    other = authority.issue("other")
    context = authority.client()
    async with FakeNode() as node, running(node, tls=tls(pair)) as gateway:
        first = await serial(gateway, context)
        if broken == "half a certificate":
            cert.write_bytes(other[0].read_bytes()[:200])
        elif broken == "another key":
            shutil.copy(other[1], key)
        elif broken == "no key":
            key.unlink()
        else:
            cert.write_bytes(b"")
        await gateway.until(lambda: "the old certificate is kept" in caplog.text)
        assert await serial(gateway, context) == first
        shutil.copy(other[0], cert)
        shutil.copy(other[1], key)
        await gateway.until(lambda: "certificate read again" in caplog.text)
        assert await serial(gateway, context) != first


async def test_who_has_no_certificate_of_the_client_ca_is_not_let_in(authority: Authority):
    options = tls(authority.issue("public"), client_ca_file=str(authority.ca))
    stranger = authority.client()
    stranger.load_cert_chain(CERTIFICATES / "stranger.pem")
    async with FakeNode() as node, running(node, tls=options) as gateway:
        for context in (authority.client(), stranger):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await post(gateway, context)
        assert await post(gateway, authority.client(authority.issue("client"))) == 200
        assert len(node.calls) == 1
        assert gateway.gateway.encryption.failures["certificate"] == 2


async def test_old_versions_of_tls_are_refused(authority: Authority):
    async with FakeNode() as node, running(node, tls=tls(authority.issue("public"))) as gateway:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", gateway.address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        said, _ = await process.communicate()
        assert b"Cipher is (NONE)" in said
        assert gateway.gateway.encryption.failures == {"protocol": 1}


async def test_who_speaks_plainly_or_says_nothing_is_closed_and_nothing_is_logged(authority: Authority, caplog):
    options = tls(authority.issue("public"), handshake_seconds=0.2)
    async with FakeNode() as node, running(node, tls=options) as gateway:
        async with gateway.client() as plain, gateway.client() as silent:
            await plain.send(request(jpeg()))
            assert await plain.ended() == b""
            assert await silent.ended() == b""
        await gateway.until(lambda: gateway.gateway.encryption.failures.total() == 2)
        assert gateway.gateway.encryption.failures == {"not_tls": 1, "timeout": 1}
        assert not node.calls
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_handshakes_under_way_are_few_per_client(authority: Authority):
    limits = {"connections_per_client": 3}
    async with FakeNode() as node, running(node, tls=tls(authority.issue("public")), limits=limits) as gateway:
        async with gateway.client(), gateway.client(), gateway.client(), gateway.client() as fourth:
            assert await fourth.ended() == b""
        await gateway.until(lambda: gateway.gateway.encryption.failures["gone"] == 3)
        assert gateway.gateway.encryption.failures["too_many"] == 1
        assert await post(gateway, authority.client()) == 200


async def test_a_refusal_is_seen_by_a_client_that_is_still_sending(authority: Authority):
    limits = {"body_bytes": 1024, "linger_seconds": 1.0}
    async with (
        FakeNode() as node,
        running(node, tls=tls(authority.issue("public")), limits=limits) as gateway,
        gateway.client(authority.client()) as client,
    ):
        await client.send(head(5_000_000))
        for _ in range(50):
            await client.send(bytes(20_000))
        assert (await client.reply()).status == 413
        assert await client.ended() == b""


async def test_leaving_finishes_what_came_by_tls(authority: Authority):
    async with (
        FakeNode(lambda call: Reply(delay=0.2)) as node,
        running(node, tls=tls(authority.issue("public"))) as gateway,
        gateway.client(authority.client()) as client,
    ):
        await client.send(request(jpeg()))
        await node.wait(lambda node: bool(node.calls))
        leaving = asyncio.create_task(gateway.gateway.stop())
        reply = await client.reply()
        assert (reply.status, reply.closes) == (200, True)
        assert await leaving == 0


async def test_the_end_of_the_certificate_and_failures_are_metrics(authority: Authority):
    async with FakeNode() as node, running(node, tls=tls(authority.issue("public"))) as gateway:
        async with gateway.client() as plain:
            await plain.send(request(jpeg()))
            await plain.ended()
        async with gateway.client(authority.client()) as client:
            shown = client.writer.get_extra_info("ssl_object").getpeercert()
        address = gateway.operators
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        page = (await reader.read()).decode()
        writer.close()
        ends = ssl.cert_time_to_seconds(shown["notAfter"])
        line = next(line for line in page.splitlines() if line.startswith("fleetgate_tls_certificate_expiry"))
        name, value = line.split(" ")
        assert name.endswith('{use="public"}')
        assert float(value) == ends
        assert 'fleetgate_tls_handshake_failures_total{reason="not_tls"} 1.0' in page


async def test_files_that_cannot_be_used_are_one_line_at_start(authority: Authority):
    cert, _ = authority.issue("public")
    _, key = authority.issue("other")
    for pair, why in (((cert, key), "does not belong"), ((cert, Path("gone")), "No such file")):
        with pytest.raises(ValueError, match=why):
            async with running(tls=tls(pair)):
                pass
