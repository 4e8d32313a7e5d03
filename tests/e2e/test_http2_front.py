"""HTTP/2 in front of the gateway by HAProxy, configured as docs/operations.md says."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtest.peers import haproxy
from tests.fakes.authority import Authority
from tests.fakes.gateway import jpeg, running
from tests.fakes.node import FakeNode

ROOT = Path(__file__).resolve().parents[2]
TIMEOUTS = "defaults\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"


def configuration(folder: Path, pair: tuple[Path, Path], gateway: str) -> Path:
    """The example of the page, with addresses of this test."""
    page = (ROOT / "docs" / "operations.md").read_text()
    (example,) = re.findall(r"```\n(frontend public\n.*?)```", page, re.S)
    both = folder / "both.pem"
    both.write_bytes(pair[0].read_bytes() + pair[1].read_bytes())
    for said, here in (
        ("bind :443", f"bind {folder}/front.sock"),
        ("/etc/ssl/fleetgate.pem", str(both)),
        ("127.0.0.1:8080", gateway),
    ):
        assert said in example
        example = example.replace(said, here)
    (folder / "haproxy.cfg").write_text(TIMEOUTS + example)
    return folder / "haproxy.cfg"


@asynccontextmanager
async def front(folder: Path, pair: tuple[Path, Path], gateway: str) -> AsyncIterator[Path]:
    """HAProxy; the socket it listens on."""
    configuration(folder, pair, gateway)
    command, environ = haproxy.command()
    words = [word.format(folder=folder) for word in command]
    process = await asyncio.create_subprocess_exec(*words, env={**os.environ, **environ})
    try:
        async with asyncio.timeout(20):
            while not (folder / "front.sock").exists():
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield folder / "front.sock"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.mark.parametrize(("flag", "version"), [("--http2", b"2"), ("--http1.1", b"1.1")])
async def test_clients_by_http_2_are_served(tmp_path: Path, flag: str, version: bytes):
    authority = Authority(tmp_path)
    body = jpeg(size=300_000)
    security = {"trusted_proxies": ["127.0.0.1/32"]}
    async with (
        FakeNode() as node,
        running(node, security=security) as gateway,
        front(tmp_path, authority.issue("front"), gateway.address) as socket,
    ):
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", flag, "--cacert", authority.ca, "--unix-socket", socket),
            *("--data-binary", "@-", "--write-out", "\n%{http_code} %{http_version}\n"),
            *("https://localhost/v1/predict", "--next", "--silent", "--cacert", authority.ca),
            *("--unix-socket", socket, "--write-out", "\n%{http_code} %{http_version}\n", "https://localhost/readyz"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate(body)
        assert said.count(b"200 " + version) >= 1
        assert said.splitlines()[1] == b"200 " + version
        (call,) = node.calls
        assert call.body == body
        assert call.header("X-Forwarded-Proto") == "https"
