"""An emulated node holds its one slot for the time of the image it was sent, first come first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from loadtest.compare import images
from loadtest.compare.generator import Hit, Job, Shot, generate
from loadtest.compare.nodes import Fleet, open_fleet
from loadtest.compare.ports import Ports
from loadtest.simulate.machines import Machine
from wire import load_report, timing

LIGHT = Machine(name="light-0", pool="light", speed=1.0)
MEGAPIXEL = 1_000_000


@asynccontextmanager
async def fleet(*machines: Machine, scale: float = 1.0, waiting: int | None = None) -> AsyncIterator[list[str]]:
    ports = Ports(Random()).take(len(machines))
    servers = await open_fleet(Fleet(list(machines), ports, scale, waiting))
    try:
        yield [f"127.0.0.1:{port}" for port in ports]
    finally:
        for server in servers:
            server.close()


async def shoot(address: str, *shots: Shot) -> list[Hit]:
    return (await generate(Job([address], list(shots), patience=20.0))).hits


def post(pixels: int, noise: float = 1.0, more: str = "") -> bytes:
    start, size = images.head(pixels, noise), images.body_bytes(pixels)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: node\r\nContent-Length: {size}\r\n{more}\r\n"
    return head.encode() + start + bytes(size - len(start))


@pytest.mark.parametrize("pixels", [1, 5000, MEGAPIXEL, 40_000_000, 2_000_000_000])
def test_an_image_says_its_pixels_and_its_noise(pixels: int) -> None:
    found, noise = images.read(images.head(pixels, 1.25)[: images.HEAD_BYTES])
    width, height = images.sides(pixels)
    assert (found, noise) == (width * height, 1.25)
    assert found == pytest.approx(pixels, rel=0.02, abs=1)
    assert images.body_bytes(pixels) >= len(images.head(pixels, 1.25))


def test_any_other_body_is_refused() -> None:
    with pytest.raises(ValueError, match="no image of this benchmark"):
        images.read(b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00")


async def test_a_slot_is_held_for_the_work_of_the_image() -> None:
    async with fleet(LIGHT) as (address,):
        (hit,) = await shoot(address, Shot(0.0, MEGAPIXEL, 1.5, 0))
    assert hit.status == 200
    assert hit.told.node == "light-0"
    assert hit.told.service_ms == pytest.approx(60.0, rel=0.01)  # (10 + 30) x 1.5
    assert hit.seconds >= 0.058  # timers count whole milliseconds


async def test_a_faster_node_works_faster_and_a_stretched_one_longer() -> None:
    fast = Machine(name="heavy-0", pool="heavy", speed=2.0)
    slow = Machine(name="heavy-1", pool="heavy", speed=2.0, slowness=4.0)
    async with fleet(fast, slow, scale=2.0) as addresses:
        hits = [(await shoot(address, Shot(0.0, MEGAPIXEL, 1.0, 0)))[0] for address in addresses]
    assert [hit.told.service_ms for hit in hits] == pytest.approx([40.0, 160.0], rel=0.01)


async def test_one_slot_first_come_first_served() -> None:
    shots = [Shot(0.0, MEGAPIXEL, 2.0, 0), Shot(0.01, MEGAPIXEL, 1.0, 0), Shot(0.02, MEGAPIXEL, 0.5, 0)]
    async with fleet(LIGHT) as (address,):
        hits = await shoot(address, *shots)
    first, second, third = (hit.told for hit in hits)
    assert first.queue_ms == 0.0
    assert third.queue_ms > second.queue_ms > 0.0
    ended = [shot.at + hit.seconds for shot, hit in zip(shots, hits, strict=True)]
    assert ended == sorted(ended)
    assert ended[-1] >= 0.138


async def test_late_timers_cost_no_capacity() -> None:
    shots = [Shot(0.0, MEGAPIXEL, 0.25, 0) for _ in range(20)]
    async with fleet(LIGHT) as (address,):
        hits = await shoot(address, *shots)
    # Each begins when the one before it was due, however late the timer: the last waits for 19 times 10 ms at most.
    assert 0.0 < max(hit.told.queue_ms for hit in hits) < 190.5


async def test_work_that_waits_leaves_with_its_caller() -> None:
    async with fleet(LIGHT) as (address,):
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(MEGAPIXEL, 5.0))
        _, gone = await asyncio.open_connection(host, int(port))
        await asyncio.sleep(0)
        gone.write(post(MEGAPIXEL, 100.0))
        await gone.drain()
        gone.close()
        await gone.wait_closed()
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        (after,) = await shoot(address, Shot(0.0, MEGAPIXEL, 1.0, 0))
    assert after.seconds < 3.0  # the 4 seconds of the one that left are not worked


async def test_an_answer_tells_load_and_times() -> None:
    async with fleet(LIGHT) as (address,):
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(MEGAPIXEL, 1.0, "Connection: close\r\n"))
        answer = (await reader.read()).decode()
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    fields = [tuple(line.split(": ", 1)) for line in head.split("\r\n")[1:]]
    report = load_report.decode([(name, value) for name, value in fields])
    assert report is not None
    assert (report.inflight, report.queue_depth, report.capacity) == (0, 0, 1)
    assert report.application_utilization is not None
    assert 0 < report.application_utilization < 1
    spent = timing.decode(dict(fields)["Server-Timing"])
    assert spent["infer"] == pytest.approx(40.0, rel=0.01)
    assert '"node":"light-0"' in body


async def test_a_probe_is_answered_while_the_slot_is_held() -> None:
    async with fleet(LIGHT) as (address,):
        host, port = address.split(":")
        _, busy = await asyncio.open_connection(host, int(port))
        busy.write(post(MEGAPIXEL, 100.0))
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(3.5):
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        busy.close()


async def test_a_full_node_refuses_in_our_words_when_told_to() -> None:
    async with fleet(LIGHT, waiting=1) as (address,):
        hits = await shoot(address, *[Shot(0.0, MEGAPIXEL, 1.0, 0) for _ in range(4)])
        host, port = address.split(":")
        lines = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        for _, writer in lines:
            writer.write(post(MEGAPIXEL, 10.0))
            await writer.drain()
        heads = asyncio.as_completed([reader.readuntil(b"\r\n\r\n") for reader, _ in lines])
        refusal = (await next(heads)).decode()
        for rest in heads:
            rest.close()
        for _, writer in lines:
            writer.close()
    assert sorted(hit.status for hit in hits) == [200, 200, 503, 503]
    assert refusal.startswith("HTTP/1.1 503")
    assert "X-Fleetgate-Refused: busy" in refusal
