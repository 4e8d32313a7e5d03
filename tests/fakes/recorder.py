"""A backend that writes down exactly what came, judging nothing: for comparing what proxies make of one request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from discovery.instance import Instance

ANSWER = b'[{"label":"tabby","score":0.9}]'
PROBES = ("/", "/v2/health/ready")  # whoever starts a proxy, or watches a node, asks these
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)


@dataclass(slots=True)
class Seen:
    """One request. Names in lower case, text as Latin-1, the body without its framing."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


class Recorder:
    """`seen` holds the requests of everybody, in the order in which they were whole."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[Seen] = []

    def instance(self) -> Instance:
        return Instance(
            id="recorder", host="127.0.0.1", port=self.port, pool="light", models=("toy@1",), capacity=8, protocol="oip"
        )

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. Probes are answered and forgotten."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                seen = await _request(reader, writer)
                if seen.target not in PROBES:
                    self.seen.append(seen)
                writer.write(_OK if seen.method == "HEAD" else _OK + ANSWER)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """One on a free port of loopback."""
    one = Recorder(0)
    server = await asyncio.start_server(one.converse, "127.0.0.1", 0, limit=1 << 20)
    one.port = server.sockets[0].getsockname()[1]
    async with server:
        yield one


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen:
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    method, target, _ = line.split(" ")
    seen = Seen(method, target, [_field(each) for each in fields])
    if seen.values("expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if seen.values("transfer-encoding"):
        await _chunks(reader, seen)
    else:
        seen.body = await reader.readexactly(int((seen.values("content-length") or ["0"])[0]))
    return seen


async def _chunks(reader: asyncio.StreamReader, seen: Seen) -> None:
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        seen.body += (await reader.readexactly(size + 2))[:-2]
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        seen.trailers.append(_field(line.decode("latin-1")))


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip(" \t\r\n")
