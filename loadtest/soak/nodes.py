"""Nodes that answer well or badly, by chance: whole, in pieces, too late, cut off, reset, garbage, refused."""

from __future__ import annotations

import asyncio
import socket
import struct
from random import Random
from typing import cast

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000)
_BUSY = b"HTTP/1.1 503 Busy\r\nX-Fleetgate-Refused: busy\r\nContent-Length: 0\r\n\r\n"
_SLOW_SECONDS = 0.02
CLOSE, RESET = "close", "reset"


class Node(asyncio.Protocol):
    """One connection from the gateway."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._bytes = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A gateway came."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole; the gateway sends chunks only of what is longer than it holds."""
        self._bytes += data
        head, end, body = self._bytes.partition(b"\r\n\r\n")
        if not end:
            return
        lower = head.lower()
        _, found, after = lower.partition(b"\r\ncontent-length: ")
        length = int(after.partition(b"\r\n")[0]) if found else 0
        whole = body.endswith(b"0\r\n\r\n") if b"transfer-encoding: chunked" in lower else len(body) >= length
        if whole:
            self._bytes = b""
            self._answer(b"/v2/health/ready" in head)

    def _answer(self, probed: bool) -> None:
        chance = self._rng.random()
        if probed or chance < 0.75:
            self._say(_ANSWER if chance < 0.6 else _CHUNKED)
        elif chance < 0.85:
            asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._say, _ANSWER)
        elif chance < 0.87:
            self._say(_LONG)
        elif chance < 0.89:
            self._say(_LONG[:100_000], CLOSE)
        elif chance < 0.90:
            self._say(_BUSY)
        elif chance < 0.96:
            self._say(_ANSWER[: self._rng.randrange(len(_ANSWER))], self._rng.choice([CLOSE, RESET]))
        else:
            self._say(self._rng.choice([_ANSWER, _ANSWER * 2, b"<html>"]), self._rng.choice([CLOSE, RESET]))

    def _say(self, data: bytes, end: str = "") -> None:
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if end == RESET:
            reset(self._transport)
        elif end:
            self._transport.close()


def reset(transport: asyncio.BaseTransport) -> None:
    """End a connection as a killed process does."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cast(asyncio.WriteTransport, transport).abort()
