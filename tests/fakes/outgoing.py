"""Requests to nodes, without a client behind them: body whole, or still coming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from discovery.instance import Instance
from gateway.node_head import field_lines, request_line

Source = Callable[[], AsyncIterator[bytes]]


@dataclass(slots=True)
class OutgoingBody:
    """`buffered`, then what `source` yields: once, as from a client's socket."""

    buffered: list[bytes]
    size: int | None
    source: Source | None = None
    complete: bool = True
    replayable: bool = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self.replayable, "a body that was not held cannot be sent again"
        for piece in self.buffered:
            yield piece
        if self.source is not None:
            self.replayable = False
            async for piece in self.source():
                yield piece
            self.complete = True


@dataclass(slots=True)
class Outgoing:
    """A request with a whole body."""

    content: bytes | Sequence[bytes] = b""
    method: str = "POST"
    target: str = "/v1/predict"
    headers: list[tuple[str, str]] = field(default_factory=list)
    request_id: str = ""
    body: OutgoingBody = field(init=False)

    def __post_init__(self) -> None:
        pieces = [self.content] if isinstance(self.content, bytes) else list(self.content)
        pieces = [piece for piece in pieces if piece]
        self.body = OutgoingBody(pieces, sum(map(len, pieces)))
        if self.request_id:
            self.headers = [*self.headers, ("X-Request-Id", self.request_id)]

    @property
    def start(self) -> str:
        """The request line."""
        return request_line(self.method, self.target)

    @property
    def lines(self) -> str:
        """The fields, written out."""
        return field_lines(self.headers)


def upload(source: Source, size: int | None, request_id: str = "") -> Outgoing:
    """A request whose body is still coming; `size` None: its client sends chunks."""
    request = Outgoing(request_id=request_id)
    request.body = OutgoingBody([], size, source, complete=False)
    return request


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Looks again on each of the loop's rounds: a pool rings no bell."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0)


@dataclass(slots=True, frozen=True)
class Target:
    """Where to send it: what a Backend is to the client."""

    instance: Instance
