"""A gateway's stream to a node by hand, and emulated nodes whose other end is real.

async with stream(node.address, "me") as line:
    await line.say(Ask(1, 0.0, 50.0, False))
    assert await line.hear(Yes) == Yes(1)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

from discovery.instance import Instance
from loadtest.compare import images
from loadtest.compare.nodes import Fleet, open_fleet
from loadtest.compare.ports import Ports
from loadtest.simulate.machines import Machine
from wire.grants import GATEWAY, PATH, Asking, Beat, Granting, No, Others, Yes, encode, read_granting

SECONDS = 20.0
Kind = TypeVar("Kind", Yes, No, Others, Beat)


class Stream:
    """One stream, open or refused."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0

    async def begin(self, gateway: str, method: str = "POST") -> None:
        head = f"{method} {PATH} HTTP/1.1\r\nHost: node\r\n{GATEWAY}: {gateway}\r\nTransfer-Encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())
        async with asyncio.timeout(SECONDS):
            answer = await self._reader.readuntil(b"\r\n\r\n")
        self.status = int(answer.split()[1])

    async def say(self, message: Asking | bytes) -> None:
        line = message if isinstance(message, bytes) else encode(message)
        self._writer.write(b"%x\r\n%b\r\n" % (len(line), line))
        await self._writer.drain()

    async def hear(self, kind: type[Kind]) -> Kind:
        """The next line of a kind; others are passed over."""
        while True:
            said = await self.line()
            if isinstance(said, kind):
                return said

    async def until(self, wanted: Granting) -> None:
        """Wait for a line."""
        while await self.line() != wanted:
            pass

    async def line(self) -> Granting | None:
        """The next line; None at the stream's end."""
        async with asyncio.timeout(SECONDS):
            while line := await self._reader.readline():
                if line.startswith(b"["):
                    return read_granting(line)
        return None

    def kill(self) -> None:
        """As a process that dies: its socket is closed by the kernel."""
        self._writer.transport.abort()


@asynccontextmanager
async def stream(address: str, gateway: str, method: str = "POST") -> AsyncIterator[Stream]:
    """A stream to a node."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    line = Stream(reader, writer)
    try:
        await line.begin(gateway, method)
        yield line
    finally:
        line.kill()


class Emulated:
    """One node of the benchmark's emulated fleet."""

    def __init__(self, machine: Machine, port: int) -> None:
        self.machine = machine
        self.port = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def instance(self) -> Instance:
        return Instance(
            id=self.machine.name,
            host="127.0.0.1",
            port=self.port,
            pool=self.machine.pool,
            models=("toy@1",),
            capacity=self.machine.slots,
            speed=self.machine.speed,
        )


@asynccontextmanager
async def emulated(*machines: Machine, ports: list[int] | None = None) -> AsyncIterator[list[Emulated]]:
    """Emulated nodes in this process."""
    ports = ports or Ports(Random()).take(len(machines))
    servers = await open_fleet(Fleet(list(machines), ports, 1.0, 16))
    try:
        yield [Emulated(machine, port) for machine, port in zip(machines, ports, strict=True)]
    finally:
        for server in servers:
            server.close()


def image(megapixels: float) -> bytes:
    """What an emulated node of speed 1 works on for 10 ms and 30 ms per megapixel."""
    pixels = round(megapixels * 1e6)
    start, size = images.head(pixels, 1.0), images.body_bytes(pixels)
    return start + bytes(size - len(start))
