"""A real HTTP/1.1 node on port 0 that answers as it is told, well or badly, and remembers what it saw.

    async with FakeNode(lambda call: Reply(body=call.request_id.encode())) as node:
        ...                       # node.instance(), node.calls, node.count, node.open

It speaks over a raw socket, so that it can break every rule. `python -m tests.fakes.node --port 0` runs one as its
own process, for tests that kill it: see tests/fakes/node_process.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from discovery.instance import Instance

Headers = Sequence[tuple[str, str]]
CUT, RESET, KEEP = "close", "reset", "keep"


@dataclass(slots=True)
class Call:
    """One request as the node saw it. `ended` says how: answered, gone (the caller hung up), broken (by the node)."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    connection: int  # number of the connection it came on
    body: bytes = b""
    complete: bool = False  # the whole body came
    ended: str = ""

    def header(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)

    @property
    def request_id(self) -> str:
        return self.header("X-Request-Id")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def echo_body(call: Call) -> bytes:
    """Says whose answer this is, so that a swapped answer is noticed."""
    document = {"request_id": call.request_id, "sha256": call.sha256, "length": len(call.body), "target": call.target}
    return json.dumps(document).encode()


@dataclass(slots=True, kw_only=True)
class Reply:
    """What to answer, and what to do wrong. Seconds and bytes."""

    status: int = 200
    body: bytes | Callable[[Call], bytes] = echo_body
    headers: Headers = (("Content-Type", "application/json"),)
    report: str | None = 'JSON {"application_utilization":0.1,"rps_fractional":1.0,"eps":0.0}'
    timing: str | None = "queue;dur=0.0, decode;dur=0.5, infer;dur=2.5"
    echo_id: bool = True  # X-Request-Id as it came
    delay: float = 0.0  # before the answer begins
    gate: asyncio.Event | None = None  # the body is read once this is set
    early: bool = False  # answer before the body is read (and leave the rest of it unread)
    refuse: bool = False  # 503 X-Fleetgate-Refused before the body is read, then read it away as a polite node does
    informational: Sequence[int] = ()  # 1xx answers first
    chunked: bool = False  # Transfer-Encoding instead of a length
    piece: int = 1 << 16  # body bytes per write
    piece_delay: float = 0.0
    trailers: Headers = ()
    says: int | None = None  # Content-Length it claims instead of the true one
    no_length: bool = False  # neither length nor chunks: the end of the connection ends the body
    cut: int | None = None  # body bytes after which it stops and ends as `end` says
    end: str = KEEP  # after the answer: keep | close | reset
    raw: bytes | None = None  # this instead of any answer
    hang: bool = False  # never answer
    read: int | None = None  # body bytes read before it resets the connection, answering nothing


Behaviour = Callable[[Call], Reply]


@dataclass(slots=True)
class FakeNode:
    """The node: `behave` decides per call, the flags per connection; change either at any time."""

    behave: Behaviour = lambda call: Reply()
    pool: str = "light"
    capacity: int = 8
    models: tuple[str, ...] = ("toy@1",)
    max_pixels: int = 50_000_000
    protocol: str = "fleetgate"
    name: str = ""
    ready: int = 200  # status of /v2/health/ready; 0 hangs
    ready_report: str | None = Reply().report
    port: int = 0
    ssl_context: ssl.SSLContext | None = None
    reset_at_accept: bool = False
    close_idle: bool = False  # every connection is closed after one answer, without saying so
    calls: list[Call] = field(default_factory=list)
    probes: int = 0
    count: Counter[str] = field(default_factory=Counter)  # calls per request id
    accepted: int = 0
    pipelined: int = 0  # bytes that came before an answer was given: a client's fault
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    seen: asyncio.Condition = field(default_factory=asyncio.Condition)
    _listener: socket.socket | None = None
    _accepted: set[socket.socket] = field(default_factory=set)  # not yet connections
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> FakeNode:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after stop(), on the same port again."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def stop(self) -> None:
        """As SIGKILL: refuse new connections, reset the open ones."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for writer in list(self.open):
            reset(writer)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for accepted in self._accepted:
            accepted.close()

    def instance(self, **changes: object) -> Instance:
        """What this node would announce."""
        facts = {
            "id": self.name or f"fleetgate-node-127.0.0.1-{self.port}",
            "host": "127.0.0.1",
            "port": self.port,
            "pool": self.pool,
            "models": self.models,
            "capacity": self.capacity,
            "max_pixels": self.max_pixels,
            "protocol": self.protocol,
            "tls": self.ssl_context is not None,
        }
        return Instance(**(facts | changes))

    async def wait(self, condition: Callable[[FakeNode], bool], seconds: float = 20.0) -> None:
        """Until `condition(node)` holds: looked at after everything the node sees."""
        async with asyncio.timeout(seconds), self.seen:
            await self.seen.wait_for(lambda: condition(self))

    async def _note(self) -> None:
        async with self.seen:
            self.seen.notify_all()

    def _accept(self, listener: socket.socket) -> None:
        # A server of asyncio's loses what it accepts in the moment it is closed.
        with contextlib.suppress(BlockingIOError):
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            self._accepted.add(accepted)
            task = asyncio.get_running_loop().create_task(self._connection(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connection(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(reader)
        self._accepted.discard(accepted)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self.ssl_context)
        except OSError:  # a handshake that failed
            accepted.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self.open.add(writer)
        self.accepted += 1
        try:
            await self._exchanges(reader, writer, self.accepted)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except RuntimeError:  # what uvloop raises when one writes to a closed transport
            if not writer.is_closing():
                raise
        finally:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                writer.close()
            self.open.discard(writer)
            with contextlib.suppress(asyncio.CancelledError):
                await self._note()

    async def _exchanges(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if self.reset_at_accept:
            reset(writer)
            return
        while await self._exchange(reader, writer, number) and not self.close_idle:
            await self._note()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """One request and its answer; True while the connection may serve another."""
        head = await reader.readuntil(b"\r\n\r\n")
        call = parse_head(head, number)
        if call.target == "/v2/health/ready":
            return await self._probe(call, reader, writer)
        if call.target == "/fleetgate/v1/grants":  # as a server that knows of no such thing
            self.accepted -= 1
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        self.calls.append(call)
        self.count[call.request_id] += 1
        await self._note()
        reply = self.behave(call)
        try:
            return await self._serve(call, reply, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            call.ended = "gone"
            raise
        finally:
            call.ended = call.ended or "broken"

    async def _serve(
        self, call: Call, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if reply.read is not None:
            await read_some(call, reader, reply.read)
            reset(writer)
            return False
        if reply.refuse:
            reply = Reply(
                status=503, body=b'{"error":"busy"}', headers=(("X-Fleetgate-Refused", "busy"),), report=reply.report
            )
            await self._answer(call, reply, writer)
            await read_body(call, reader)
            return True
        if not reply.early:
            if call.header("Expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if reply.gate is not None:
                await reply.gate.wait()
            await read_body(call, reader)
            await self._note()
        if (reply.hang or reply.delay) and await self._gone(reader, None if reply.hang else reply.delay):
            call.ended = "gone"
            return False
        await self._answer(call, reply, writer)
        if reply.end == RESET:
            reset(writer)
        return reply.end == KEEP and not reply.early and not reply.no_length

    async def _gone(self, reader: asyncio.StreamReader, seconds: float | None) -> bool:
        """Wait; True as soon as the caller hangs up."""
        try:
            async with asyncio.timeout(seconds):
                self.pipelined += len(await reader.read(1))
        except TimeoutError:
            return False
        return True

    async def _probe(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self.probes += 1
        await self._note()
        if self.ready == 0:
            await self._gone(reader, None)
            return False
        await self._answer(call, Reply(status=self.ready, body=b'{"ready":true}', report=self.ready_report), writer)
        return True

    async def _answer(self, call: Call, reply: Reply, writer: asyncio.StreamWriter) -> None:
        if reply.raw is not None:
            writer.write(reply.raw)
        else:
            for status in reply.informational:
                writer.write(f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode())
            body = reply.body if isinstance(reply.body, bytes) else reply.body(call)
            writer.write(head_of(call, reply, len(body)))
            shown = b"" if call.method == "HEAD" or reply.status in (204, 304) else body[: reply.cut]
            async for piece in framed(reply, shown):
                writer.write(piece)
                await writer.drain()
        await writer.drain()
        call.ended = "answered" if reply.cut is None and reply.raw is None else "broken"


def parse_head(head: bytes, connection: int) -> Call:
    """A request head; asserts what a careful client sends."""
    lines = head.decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ")
    assert version == "HTTP/1.1", lines[0]
    pairs = [line.partition(":") for line in lines[1:-2]]
    headers = [(name, value.strip()) for name, colon, value in pairs if colon]
    assert len(headers) == len(pairs), head
    call = Call(method, target, headers, connection)
    lengths = [value for name, value in headers if name.lower() in ("content-length", "transfer-encoding")]
    assert len(lengths) <= 1, head
    assert sum(name.lower() == "host" for name, _ in headers) == 1, head
    return call


async def _parts(call: Call, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    if call.header("Transfer-Encoding"):
        while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
            yield await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"
        return
    left = int(call.header("Content-Length", "0"))
    while left:
        part = await reader.read(min(left, 1 << 16))
        if not part:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(part)
        yield part


async def read_body(call: Call, reader: asyncio.StreamReader) -> None:
    """The whole body into `call.body`; IncompleteReadError when the caller hangs up before its end."""
    parts = []
    async for part in _parts(call, reader):
        parts.append(part)
    call.body = b"".join(parts)
    call.complete = True


async def read_some(call: Call, reader: asyncio.StreamReader, size: int) -> None:
    """At least `size` bytes of the body, or all of it."""
    async with contextlib.aclosing(_parts(call, reader)) as parts:
        while len(call.body) < size and (part := await anext(parts, b"")):
            call.body += part


def head_of(call: Call, reply: Reply, length: int) -> bytes:
    """Status line and fields of an answer."""
    lines = [f"HTTP/1.1 {reply.status} Whatever", "Server: fake/1.0"]
    if reply.echo_id and call.request_id:
        lines.append(f"X-Request-Id: {call.request_id}")
    if reply.report is not None:
        lines.append(f"endpoint-load-metrics: {reply.report}")
    if reply.timing is not None:
        lines.append(f"Server-Timing: {reply.timing}")
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if reply.chunked:
        lines.append("Transfer-Encoding: chunked")
    elif not reply.no_length and reply.status not in (204, 304):
        lines.append(f"Content-Length: {length if reply.says is None else reply.says}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def framed(reply: Reply, body: bytes) -> AsyncIterator[bytes]:
    """The body in pieces, as chunks when asked; the last chunk and trailers unless it is cut."""
    for start in range(0, len(body), reply.piece):
        piece = body[start : start + reply.piece]
        yield b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece
        if reply.piece_delay:
            await asyncio.sleep(reply.piece_delay)
    if reply.chunked and reply.cut is None:
        yield b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in reply.trailers).encode() + b"\r\n"


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a killed process with unread data does."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _main(options: argparse.Namespace) -> None:
    node = FakeNode(
        lambda call: Reply(delay=options.latency), port=options.port, capacity=options.capacity, pool=options.pool
    )
    await node.start()
    print(node.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--capacity", type=int, default=8)
    parser.add_argument("--pool", default="light")
    asyncio.run(_main(parser.parse_args()))
