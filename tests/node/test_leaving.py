"""A node that leaves: gateways are told first, nothing that has begun is lost, and then it is gone."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from node.config import Drain
from tests.fakes.raw_client import raw_client
from tests.fakes.serving import limits, picture, serving, until

IMAGE = picture(255, (60, 60), "BMP")
HEAD = f"POST /v1/predict HTTP/1.1\r\nHost: node\r\nContent-Length: {len(IMAGE)}\r\n\r\n"


def announced(tmp_path: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(path.read_bytes()) for path in (tmp_path / "registry").glob("*.json")]


async def test_a_warm_node_is_announced_with_its_facts(tmp_path: Path) -> None:
    async with serving(tmp_path, ready=False, pool="heavy", limits=limits(slots=3)) as node:
        assert announced(tmp_path) == []
        await node.node.become_ready()
        (entry,) = announced(tmp_path)

    text = msgspec.json.encode(entry).decode()
    for fact in (node.node.sizes,):
        assert str(fact.max_pixels) in text
    for word in ("heavy", "bright@1", "fleetgate-node-127.0.0.1-", '"capacity":3', '"max_pixels":200000000'):
        assert word in text


async def test_uploads_runs_and_half_heads_are_finished_while_leaving(tmp_path: Path) -> None:
    drain = Drain(grace_seconds=0.05, seconds=10)
    async with serving(tmp_path, drain=drain, limits=limits(slots=8)) as node:
        node.session.gate.clear()
        async with (
            raw_client(node.address) as running,
            raw_client(node.address) as uploading,
            raw_client(node.address) as half_headed,
            raw_client(node.address) as idle,
        ):
            await idle.send("GET /v2/health/live HTTP/1.1\r\nHost: node\r\n\r\n")
            assert (await idle.reply()).status == 200
            await running.send(HEAD, IMAGE)
            await uploading.send(HEAD, IMAGE[:100])
            await half_headed.send(HEAD[:30])
            await until(lambda: node.node.load.admitted == 2)
            leaving = asyncio.create_task(node.node.leave())
            await until(lambda: node.node.api.leaving.refusing)

            await uploading.send(IMAGE[100:])
            await half_headed.send(HEAD[30:], IMAGE)
            await until(lambda: node.node.load.admitted == 3)
            node.session.gate.set()
            replies = [await client.reply() for client in (running, uploading, half_headed)]
            await leaving
            await node.node.close()
            assert await idle.ended() == b""

    assert [reply.status for reply in replies] == [200] * 3
    assert all(reply.closes for reply in replies)
    assert announced(tmp_path) == []


async def test_new_requests_are_served_in_the_grace_and_refused_after_it(tmp_path: Path) -> None:
    async with serving(tmp_path, drain=Drain(grace_seconds=0.3, seconds=5)) as node:
        node.session.gate.clear()
        holder = asyncio.create_task(node.post("/v1/predict", IMAGE))
        await until(lambda: node.node.load.admitted)
        async with raw_client(node.address) as kept:
            await kept.send("GET /v2/health/ready HTTP/1.1\r\nHost: node\r\n\r\n")
            assert (await kept.reply()).status == 200
            leaving = asyncio.create_task(node.node.leave())
            await until(lambda: node.node.api.leaving.announced)
            unready = await node.get("/v2/health/ready")
            during = asyncio.create_task(node.post("/v1/predict", IMAGE))
            await until(lambda: node.node.load.admitted == 2)
            await until(lambda: node.node.api.leaving.refusing)
            await kept.send(HEAD, IMAGE)
            refused = await kept.reply()
            with pytest.raises(OSError, match=r"refused|Connect"):
                await node.get("/v2/health/live")
        node.session.gate.set()
        assert (await holder).status == 200
        assert (await during).status == 200
        await leaving

    assert (unready.status, unready.error) == (503, "draining")
    assert refused.status == 503
    assert refused.headers["x-fleetgate-refused"] == "draining"
    assert refused.closes


async def test_leaving_ends_though_a_client_never_does(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, drain=Drain(grace_seconds=0.01, seconds=0.2)) as node,
        raw_client(node.address) as slow,
    ):
        await slow.send(HEAD, IMAGE[:10])
        await until(lambda: node.node.load.admitted)
        start = time.monotonic()
        await node.node.leave()
        await node.node.close()

    assert time.monotonic() - start < 10
    assert node.session.closed
