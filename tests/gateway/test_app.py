"""The gateway as a program: it starts, says so, and leaves."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

import msgspec
import pytest

from gateway import app, server
from gateway.config import GatewayConfig
from tests.fakes.gateway import jpeg, request, running
from tests.fakes.node import FakeNode, Reply
from tests.fakes.raw_client import raw_client

PROGRAM = """
import asyncio, logging, sys, uvloop, msgspec
from gateway.app import run
from gateway.config import GatewayConfig
logging.basicConfig(level=logging.INFO)
config = msgspec.json.decode(sys.argv[1], type=GatewayConfig)
sys.exit(uvloop.run(run(config, lambda public, operators: print(public, flush=True))))
"""


def options(*nodes: FakeNode, port: int = 0) -> bytes:
    listed = ",".join(f"127.0.0.1:{node.port}/light?models=toy@1" for node in nodes)
    return msgspec.json.encode(
        {"listen": {"port": port}, "operator": {"port": 0}, "registry": {"url": f"static:{listed}"}}
    )


async def start(config: bytes) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, config, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_finishes_what_it_has_and_exits_with_0(number):
    async with FakeNode(lambda call: Reply(delay=0.3)) as node:
        process = await start(options(node))
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        async with raw_client(address) as client:
            await client.send(request(jpeg()))
            await node.wait(lambda node: bool(node.calls))
            process.send_signal(number)
            reply = await client.reply()
            assert (reply.status, reply.closes) == (200, True)
        assert await process.wait() == 0


async def test_a_port_in_use_is_one_clear_line_and_exit_1():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with FakeNode() as node:
            process = await start(options(node, port=port))
            _, errors = await process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in errors.decode()


async def test_why_it_cannot_start_is_logged(caplog):
    config = GatewayConfig()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        listen = msgspec.structs.replace(config.listen, port=port)
        registry = msgspec.structs.replace(config.registry, url="static:127.0.0.1:1")
        caplog.set_level(logging.ERROR)
        assert await app.run(msgspec.structs.replace(config, listen=listen, registry=registry)) == 1
    assert caplog.records[-1].fields["why"] == f"127.0.0.1:{port} is in use"


async def test_the_operators_side_is_served_beside(caplog):
    async with FakeNode() as node, running(node) as gateway, raw_client(gateway.operators) as client:
        await client.send(f"GET /api/fleet HTTP/1.1\r\nHost: {gateway.operators}\r\n\r\n")
        reply = await client.reply("GET")
        assert reply.status == 200
        assert node.instance().id.encode() in reply.body


async def test_nodes_where_none_may_live_are_never_asked(caplog):
    async with FakeNode() as good, FakeNode() as bad:
        bad_instance = bad.instance(id="stranger", host="127.0.0.1")
        security = {"node_networks": ["127.0.0.1/32"]}
        async with running(good, security=security) as gateway:
            elsewhere = [msgspec.structs.replace(bad_instance, host=host) for host in ("169.254.169.254", "localhost")]
            gateway.watcher.say([good.instance(), *elsewhere])
            gateway.watcher.say([good.instance(), *elsewhere])
            for _ in range(5):
                assert (await gateway.post(jpeg())).status == 200
            assert set(gateway.gateway.fleet.backends) == {good.instance().id}
        assert bad.accepted == 0
        lines = [record for record in caplog.records if "where none may live" in record.getMessage()]
        assert len(lines) == 1


async def test_a_part_that_fails_ends_the_gateway(caplog):
    async with FakeNode() as node, running(node) as gateway:
        stop = asyncio.Event()

        async def fail() -> None:
            raise OSError("the watcher broke")

        task = asyncio.create_task(fail())
        task.add_done_callback(lambda done: gateway.gateway._ended(done, stop))
        await stop.wait()
        assert "a part of the gateway failed" in caplog.text


def test_the_parser_in_use_is_the_one_in_c():
    server.check_aiohttp()


async def test_the_python_parser_is_refused():
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    code = "from gateway.server import check_aiohttp; check_aiohttp()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE, env=environment
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert "UnfitAiohttp" in errors.decode()


async def test_a_hang_up_is_no_error_of_ours(caplog):
    async with FakeNode(lambda call: Reply(hang=True)) as node, running(node) as gateway:
        async with gateway.client() as client:
            await client.send(request(jpeg()))
            await node.wait(lambda node: bool(node.calls))
            client.reset()
            await gateway.settled()
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
