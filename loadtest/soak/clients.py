"""Clients that ask well, and badly: whole bodies, chunks, expectations, several at once; some hang up at any moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random

from loadtest.proxy import bodies
from loadtest.soak.nodes import reset

_HEAD = "POST /v1/predict HTTP/1.1\r\nHost: soak\r\nX-Request-Timeout-Ms: 2000\r\n"
_SMALL, _LARGE = bodies.image(1000), bodies.image(200_000)
# Requests of one connection, at most, before the client goes.
_PER_CONNECTION = 50
_PATIENCE_SECONDS = 30.0


def _post(body: bytes, fields: str = "") -> bytes:
    return f"{_HEAD}{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _chunked(body: bytes) -> bytes:
    return f"{_HEAD}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n".encode()


# Every kind of request, and how many in a hundred are of it.
_KINDS = {
    _post(_SMALL): 67,
    _post(_LARGE): 2,
    _chunked(_SMALL): 10,
    _chunked(_LARGE): 1,
    _post(_SMALL, "Expect: 100-continue\r\n"): 5,
    _post(b"no image"): 3,
    _post(b"no image", "Content-Length: 9\r\n"): 2,
    _get("/v2/models/toy"): 5,
    _get("/healthz"): 3,
    _get("/nowhere"): 2,
}
_REQUESTS, _WEIGHTS = list(_KINDS), list(_KINDS.values())


class Clients:
    """Sends `requests` in all, `at_once` connections at a time; counts answers by status."""

    def __init__(self, address: str, rng: Random) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._rng = rng
        self.sent = 0
        self.ended: Counter[str] = Counter()

    async def run(self, requests: int, at_once: int) -> None:
        """Until all are sent and answered, or were given up."""
        self._left = requests
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._keep_asking())

    async def _keep_asking(self) -> None:
        while self._left > 0:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._connection()

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, int(self._port), limit=1 << 22)
        try:
            for _ in range(_PER_CONNECTION):
                if self._left <= 0 or not await self._ask(reader, writer):
                    return
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        rng = self._rng
        (data,) = rng.choices(_REQUESTS, _WEIGHTS)
        self._left -= 1
        self.sent += 1
        hang_up = rng.random()
        if hang_up < 0.05:  # in the middle of a request, or while it is worked on
            writer.write(data[: rng.randrange(1, len(data) + 1)])
            await asyncio.sleep(rng.random() * 0.01)
            self.ended["hung up"] += 1
            if hang_up < 0.025:
                reset(writer.transport)
            return False
        writer.write(data)
        if hang_up < 0.06:
            writer.write_eof()
        status, goes_on = await _answer(reader)
        self.ended[status] += 1
        return goes_on and hang_up >= 0.06


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Its status, and whether another may follow."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = head.split(b" ", 2)[1].decode()
        if status != "100":
            break
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return status, b"connection: close" not in head
