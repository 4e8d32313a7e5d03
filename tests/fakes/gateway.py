"""A whole gateway in this process, before fake nodes.

async with FakeNode() as node, running(node) as gateway:
    reply = await gateway.post(jpeg(640, 480))
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Protocol

import msgspec

from discovery.instance import Instance, Snapshot
from gateway.app import Gateway
from gateway.config import GatewayConfig
from gateway.outcome import Outcome
from tests.fakes.raw_client import SECONDS, RawClient, Reply, raw_client


class Node(Protocol):
    def instance(self) -> Instance: ...


class ToldWatcher:
    """A registry that says what the test says."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        self._snapshots: asyncio.Queue[Snapshot] = asyncio.Queue()
        self.say(instances)

    def say(self, instances: Iterable[Instance], stale: str = "") -> None:
        self._snapshots.put_nowait(Snapshot(instances=frozenset(instances), stale=stale))

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        while True:
            yield await self._snapshots.get()

    def age(self) -> float:
        return 0.0

    async def close(self) -> None:
        pass


class Outcomes:
    """An observer that keeps what it saw."""

    def __init__(self) -> None:
        self.all: list[Outcome] = []
        self._seen = asyncio.Condition()

    def finished(self, outcome: Outcome) -> None:
        self.all.append(outcome)

    @property
    def last(self) -> Outcome:
        return self.all[-1]


class Running:
    def __init__(self, gateway: Gateway, address: str, operators: str, watcher: ToldWatcher) -> None:
        self.gateway = gateway
        self.address = address
        self.operators = operators
        self.watcher = watcher
        self.outcomes = Outcomes()
        gateway.api.observers.append(self.outcomes)

    def client(self, context: ssl.SSLContext | None = None) -> Any:
        return raw_client(self.address, context)

    async def post(self, body: bytes, path: str = "/v1/predict", headers: str = "") -> Reply:
        async with raw_client(self.address) as client:
            await client.send(request(body, path, headers))
            return await client.reply()

    async def get(self, path: str, headers: str = "") -> Reply:
        async with raw_client(self.address) as client:
            await client.send(f"GET {path} HTTP/1.1\r\nHost: fleet\r\n{headers}\r\n")
            return await client.reply("GET")

    @property
    def in_flight(self) -> int:
        return sum(backend.in_flight for backend in self.gateway.fleet.backends.values())

    async def until(self, condition: Any) -> None:
        """Wait for the gateway to come to a state."""
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """No request, no lease, no held byte is left."""
        api = self.gateway.api
        await self.until(lambda: not self.in_flight and not api.in_flight and not api.bytes.held)
        assert not any(one.awaited for one in self.gateway.client.pool.connections)
        assert len(self.gateway.scheduler.queue) == 0


@asynccontextmanager
async def running(*nodes: Node, **sections: dict[str, Any]) -> AsyncIterator[Running]:
    """`sections` overrides options: limits={"body_bytes": 2048}."""
    plain: dict[str, Any] = {
        "listen": {"port": 0},
        "operator": {"port": 0},
        "registry": {"url": "static:127.0.0.1:1"},
        "health": {"probe_interval": 0.2},
    }
    for name, options in sections.items():
        plain[name] = {**plain.get(name, {}), **options}
    watcher = ToldWatcher(node.instance() for node in nodes)
    gateway = Gateway(msgspec.convert(plain, GatewayConfig), watcher, Random(1))
    stop = asyncio.Event()
    public, operators = await gateway.start(stop)
    try:
        async with asyncio.timeout(SECONDS):
            await gateway.first_snapshot.wait()
        yield Running(gateway, public, operators, watcher)
    finally:
        await gateway.stop()


def request(body: bytes, path: str = "/v1/predict", headers: str = "", method: str = "POST") -> bytes:
    """A whole request; `headers` are whole lines."""
    head = f"{method} {path} HTTP/1.1\r\nHost: fleet\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


def head(length: int, path: str = "/v1/predict", headers: str = "") -> bytes:
    """The head alone, promising `length` bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: fleet\r\nContent-Length: {length}\r\n{headers}\r\n".encode("latin-1")


def jpeg(width: int = 640, height: int = 480, size: int = 0) -> bytes:
    """A body that begins as a JPEG of this size does, padded to `size` bytes; no decoder would take it."""
    start = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    body = start + frame
    return body + bytes(max(0, size - len(body)))


async def chunks_of(client: RawClient, body: bytes, size: int) -> None:
    """Send `body` in HTTP chunks of `size` bytes."""
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        await client.send(b"%x\r\n" % len(piece), piece, b"\r\n")
    await client.send(b"0\r\n\r\n")
