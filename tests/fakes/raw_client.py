"""A client that says exactly the bytes it is told, and reads answers without believing them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

SECONDS = 20.0  # a test that waits longer than this is stuck


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]  # lower-case names; repeated ones joined by ", "
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class RawClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes | str) -> None:
        for piece in pieces:
            self.writer.write(piece.encode("latin-1") if isinstance(piece, str) else piece)
        await self.writer.drain()

    async def reply(self, method: str = "POST", *, interim: bool = False) -> Reply:
        """The next final answer; with `interim` the next of any kind."""
        async with asyncio.timeout(SECONDS):
            while True:
                reply = await self._reply(method)
                if interim or reply.status >= 200:
                    return reply

    async def _reply(self, method: str) -> Reply:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status = head[0].split(" ")[:2]
        assert version == "HTTP/1.1", head[0]
        headers: dict[str, str] = {}
        for line in head[1:-2]:
            name, _, value = line.partition(": ")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        code = int(status)
        if method == "HEAD" or code < 200 or code in (204, 304):
            return Reply(code, headers, b"")
        return Reply(code, headers, await self._body(headers))

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            assert "content-length" not in headers
            return await self._chunks()
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        return await self.reader.read()

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    async def ended(self) -> bytes:
        """What still comes until the server closes; a reset counts as closed."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()


@asynccontextmanager
async def raw_client(address: tuple[str, int] | str, context: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    """One connection to (host, port) or "host:port", with a context by TLS."""
    if isinstance(address, str):
        host, _, port = address.rpartition(":")
        address = host, int(port)
    reader, writer = await asyncio.open_connection(*address, limit=1 << 22, ssl=context)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()  # uvloop cannot be closed before


async def exchange(address: tuple[str, int] | str, request: bytes | str, method: str = "POST") -> Reply:
    """One request on a connection of its own."""
    async with raw_client(address) as client:
        await client.send(request)
        return await client.reply(method)
