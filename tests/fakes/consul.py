"""A scripted Consul: real HTTP on loopback, answers as told, misbehaves on demand.

Health queries take the next line of the script; when it is used up they block, as Consul does while nothing changes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Reply:
    """One answer; `index` None leaves the header out, `promised` above len(body) makes it half an answer."""

    body: bytes = b"[]"
    status: int = 200
    index: int | str | None = 1
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    hang: bool = False
    raw: bytes | None = None  # instead of everything else


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float


def entry(id: str, host: str = "127.0.0.1", port: object = 9000, *, meta: object = None, **more: object) -> dict:
    """One entry of /v1/health/service; `checks` are statuses or whole checks, `node` is the agent's name."""
    checks = [
        check if isinstance(check, dict) else {"CheckID": f"c{number}", "Status": check}
        for number, check in enumerate(more.get("checks", ["passing"]))
    ]
    return {
        "Node": {"Node": more.get("node", "agent-1"), "Address": "127.0.0.1"},
        "Service": {"ID": id, "Service": "s", "Address": host, "Port": port, "Meta": meta},
        "Checks": checks,
    }


def listing(*entries: object) -> bytes:
    """The body of an answer."""
    return json.dumps(entries).encode()


class FakeConsul:
    """Answers on `url`; `asked` is everything that came."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.agent = Reply(b"{}")  # to every call that is no health query
        self._script: deque[Reply] = deque()
        self._forever: Reply | None = None
        self._more = asyncio.Condition()

    async def say(self, *replies: Reply) -> None:
        """Append to the script."""
        async with self._more:
            self._script.extend(replies)
            self._more.notify_all()

    async def say_forever(self, reply: Reply | None) -> None:
        """Give this reply at once, again and again, when the script is used up."""
        async with self._more:
            self._forever = reply
            self._more.notify_all()

    async def wait_asked(self, count: int) -> None:
        """Until so many health queries have come in all."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.watched) >= count)

    async def wait_asked_for(self, path: str) -> None:
        """Until this was asked for."""
        async with self._more:
            await self._more.wait_for(lambda: any(one.path == path for one in self.asked))

    @property
    def watched(self) -> list[Asked]:
        """The health queries."""
        return [one for one in self.asked if one.path.startswith("/v1/health/")]

    async def _reply(self, asked: Asked, reader: asyncio.StreamReader) -> Reply | None:
        """What to answer, or None when the client went away before there was anything to say."""
        if not asked.path.startswith("/v1/health/") and not self.agent.hang:
            return self.agent
        gone = asyncio.ensure_future(reader.read(1))  # no client of ours sends early
        said = asyncio.ensure_future(self._next() if asked.path.startswith("/v1/health/") else self._never())
        try:
            await asyncio.wait({gone, said}, return_when=asyncio.FIRST_COMPLETED)
            if said.done() and said.result().hang:
                await gone
                return None
            return said.result() if said.done() else None
        finally:
            gone.cancel()
            said.cancel()
            await asyncio.gather(gone, said, return_exceptions=True)

    async def _never(self) -> Reply:
        await asyncio.Event().wait()
        return self.agent

    async def _next(self) -> Reply:
        async with self._more:
            await self._more.wait_for(lambda: self._script or self._forever)
            return self._script.popleft() if self._script else self._forever or Reply()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while asked := await _read(reader):
                async with self._more:
                    self.asked.append(asked)
                    self._more.notify_all()
                reply = await self._reply(asked, reader)
                if reply is None:
                    break
                writer.write(_encode(reply))
                await writer.drain()
                if reply.raw is not None or reply.promised is not None:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    head = await reader.readuntil(b"\r\n\r\n")
    request, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = request.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Asked(method, unquote(parts.path), query, headers, time.monotonic())


def _encode(reply: Reply) -> bytes:
    if reply.raw is not None:
        return reply.raw
    headers = dict(reply.headers)
    if reply.index is not None:
        headers["X-Consul-Index"] = str(reply.index)
    length = len(reply.body) if reply.promised is None else reply.promised
    head = [f"HTTP/1.1 {reply.status} Scripted", f"Content-Length: {length}", "Content-Type: application/json"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + reply.body


@asynccontextmanager
async def fake_consul(*script: Reply) -> AsyncIterator[FakeConsul]:
    """Run one on a free port of loopback."""
    fake = FakeConsul()
    await fake.say(*script)
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(fake.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    fake.url = f"consul://{host}:{port}"
    try:
        yield fake
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
