"""A node that takes nothing but plain, rebuilt HTTP/1.1, one request at a time, and writes down whatever else came.

It answers with what it got, or with the bytes that `script` gives it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from discovery.instance import Instance

_VALUE = rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?"
_FIELD = rb"[!#$%&'*+.^`|~0-9A-Za-z-]+: " + _VALUE + rb"\r\n"  # no underscore, one blank, nothing folded
_HEAD = re.compile(rb"(GET|HEAD|POST|PUT) (/[!-~]*) HTTP/1\.1\r\n((?:" + _FIELD + rb")*)\r\n")
_CHUNK = re.compile(rb"([0-9a-f]{1,8})\r\n")
_HOPS = {"connection", "keep-alive", "te", "trailer", "upgrade", "proxy-connection", "proxy-authorization", "expect"}
KEEP, CLOSE, RESET = "keep", "close", "reset"


@dataclass(frozen=True, slots=True)
class Script:
    """Bytes to answer with, one write each, and what becomes of the connection."""

    pieces: tuple[bytes, ...]
    end: str = KEEP


@dataclass(slots=True)
class StrictNode:
    port: int = 0
    script: Callable[[], Script | None] = lambda: None
    wrong: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    open: set[_Connection] = field(default_factory=set)
    playing: set[asyncio.Task[None]] = field(default_factory=set)  # scripts not yet at their end

    def instance(self) -> Instance:
        return Instance(
            id="strict", host="127.0.0.1", port=self.port, pool="light", models=("toy@1",), capacity=8, protocol="oip"
        )


class _Connection(asyncio.Protocol):
    def __init__(self, node: StrictNode) -> None:
        self._node = node
        self._bytes = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._node.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._node.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        head, end, rest = self._bytes.partition(b"\r\n\r\n")
        if not end:
            return
        found = _HEAD.fullmatch(head + end)
        if found is None:
            self._complain("this is no plain head")
            return
        try:
            body = _body(_fields(found[3]), rest)
        except ValueError as error:
            self._complain(str(error))
            return
        if body is not None:
            self._bytes = b""
            self._answer(found[1], found[2], body)

    def _complain(self, why: str) -> None:
        self._node.wrong.append(f"{why}: {self._bytes[:2000]!r}")
        self._transport.abort()

    def _answer(self, method: bytes, target: bytes, body: bytes) -> None:
        if target == b"/v2/health/ready":
            self._transport.write(whole_answer(b"{}"))
            return
        self._node.bodies.append(body)
        script = self._node.script()
        if script is None:
            said = whole_answer(told_of(body))
            self._transport.write(said if method != b"HEAD" else said[: said.index(b"\r\n\r\n") + 4])
        else:
            task = asyncio.get_running_loop().create_task(self._play(script))
            self._node.playing.add(task)
            task.add_done_callback(self._node.playing.discard)

    async def _play(self, script: Script) -> None:
        for piece in script.pieces:
            if not self._transport.is_closing():
                self._transport.write(piece)
                await asyncio.sleep(0)
        if self._transport.is_closing():
            return
        if script.end == CLOSE:
            self._transport.close()
        elif script.end == RESET:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


def told_of(body: bytes) -> bytes:
    """What it answers to this body."""
    return f'{{"sha256":"{hashlib.sha256(body).hexdigest()}"}}'.encode()


def whole_answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _fields(lines: bytes) -> dict[str, str]:
    """Those that frame, route and end here, each at most once."""
    known: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        name = name.lower()
        if name in _HOPS or name.startswith("x-fleetgate-"):
            raise ValueError(f"{name} should have ended before")
        if name in ("host", "content-length", "transfer-encoding"):
            if name in known:
                raise ValueError(f"{name} came twice")
            known[name] = value
    if "host" not in known or len(known) > 2:
        raise ValueError("no host, or a length and a coding")
    return known


def _body(known: dict[str, str], rest: bytes) -> bytes | None:
    """The body if it is whole."""
    if "transfer-encoding" in known:
        return _chunks(known["transfer-encoding"], rest)
    length = known.get("content-length", "0")
    if not re.fullmatch("0|[1-9][0-9]*", length):
        raise ValueError("no plain length")
    if len(rest) > int(length):
        raise ValueError("more than one request")
    return rest if len(rest) == int(length) else None


def _chunks(coding: str, rest: bytes) -> bytes | None:
    if coding != "chunked":
        raise ValueError("no plain coding")
    body = b""
    while found := _CHUNK.match(rest):
        size = int(found[1], 16)
        chunk, rest = rest[found.end() : found.end() + size], rest[found.end() + size :]
        if rest[:2] != b"\r\n"[: len(rest)]:
            raise ValueError("a chunk of another size")
        if not size and rest[2:]:
            raise ValueError("more than one request")
        if not size and rest:
            return body if rest == b"\r\n" else None
        body, rest = body + chunk, rest[2:]
    if not re.match(rb"[0-9a-f]{0,8}\r?\Z", rest):
        raise ValueError("no chunk")
    return None


@asynccontextmanager
async def strict_node() -> AsyncIterator[StrictNode]:
    """One on a free port of loopback."""
    node = StrictNode()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(node), "127.0.0.1", 0)
    node.port = server.sockets[0].getsockname()[1]
    async with server:
        yield node
