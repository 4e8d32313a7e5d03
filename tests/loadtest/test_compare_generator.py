"""The generator is open-loop: requests leave when they are due, and latency counts from then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from loadtest.compare.generator import Job, Shot, generate

ANSWER = b'{"node":"n","queue_ms":0,"service_ms":1,"late_ms":0}'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    writers = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)

    listener = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for writer in writers:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("Content-Length"))
    await reader.readexactly(length)
    return head


def answer(status: str = "200 OK", more: str = "", body: bytes = ANSWER) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def shots(count: int, every: float = 0.01) -> list[Shot]:
    return [Shot(number * every, 100_000, 1.0, 0) for number in range(count)]


async def test_a_stalled_server_does_not_slow_arrivals() -> None:
    seen = 0
    all_seen = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await read_request(reader)
        seen += 1
        if seen == 20:
            all_seen.set()
        await all_seen.wait()  # nobody is answered until everybody has come
        writer.write(answer())
        await read_request(reader)

    async with server(stall) as address:
        found = await generate(Job([address], shots(20), patience=30.0))
    assert [hit.status for hit in found.hits] == [200] * 20
    # The first was due 190 ms before the last came: that is in its latency.
    assert found.hits[0].seconds >= 0.19
    assert found.hits[0].seconds > found.hits[-1].seconds
    assert all(hit.late >= 0 for hit in found.hits)
    assert found.cpu > 0


async def test_nobody_waits_for_ever() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await read_request(reader)

    async with server(never) as address:
        found = await generate(Job([address], shots(3), patience=0.1))
    assert [hit.status for hit in found.hits] == [0, 0, 0]


async def test_refusals_are_noted_with_their_advice() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_request(reader)
            more = "Retry-After: 2\r\n" if "X-Request-Timeout-Ms: 250" in head else ""
            writer.write(answer("503 Busy", more, b"no"))

    async with server(refuse) as address:
        wanted = [Shot(0.0, 1, 1.0, 250), Shot(0.0, 1, 1.0, 0)]
        found = await generate(Job([address], wanted, patience=30.0))
    assert [(hit.status, hit.retry_after) for hit in found.hits] == [(503, True), (503, False)]


async def test_connections_are_kept_and_a_closing_one_costs_no_request() -> None:
    opened = 0

    async def two_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        for _ in range(2):
            await read_request(reader)
            writer.write(answer())
        writer.close()  # without a word, as proxies do with idle connections

    async with server(two_each) as address:
        found = await generate(Job([address], shots(8, every=0.05), patience=30.0))
    assert [hit.status for hit in found.hits] == [200] * 8
    assert opened >= 4


async def test_a_broken_answer_is_no_answer() -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer()[:40])
        await writer.drain()
        writer.close()

    async with server(broken) as address:
        found = await generate(Job([address], shots(2), patience=30.0))
    assert [hit.status for hit in found.hits] == [0, 0]


async def test_several_gateways_share_the_requests() -> None:
    counts = [0, 0]

    def counting(which: int) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await read_request(reader)
                counts[which] += 1
                writer.write(answer())

        return serve

    async with server(counting(0)) as one, server(counting(1)) as two:
        await generate(Job([one, two], shots(100, every=0.001), patience=30.0))
    assert sum(counts) == 100
    assert min(counts) >= 25


async def test_nothing_to_do_is_done_at_once() -> None:
    assert (await generate(Job(["127.0.0.1:1"], [], patience=1.0))).hits == []


@pytest.mark.parametrize("address", ["127.0.0.1:1"])
async def test_nobody_there_is_no_answer(address: str) -> None:
    found = await generate(Job([address], shots(2), patience=10.0))
    assert [hit.status for hit in found.hits] == [0, 0]
