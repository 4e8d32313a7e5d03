"""The body of a call, read within bounds of size, time and memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aiohttp import StreamReader

from node.config import Limits
from wire.errors import BadRequest, NodeBusy, TooLarge, UploadStalled

_RATE_AFTER_SECONDS = 10.0  # slow start and small bodies are no attack


class Held:
    """Bytes of bodies in memory, all requests together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """One request's part of it; given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.bytes -= share.bytes


class Share:
    """What one request holds."""

    __slots__ = ("_held", "bytes")

    def __init__(self, held: Held) -> None:
        self._held = held
        self.bytes = 0

    def grow_to(self, size: int) -> None:
        """Hold `size` bytes in all. Raises NodeBusy when there is no room for them."""
        more = size - self.bytes
        if more <= 0:
            return
        if self._held.bytes + more > self._held.limit:
            raise NodeBusy("this node holds as many request bodies as it can")
        self._held.bytes += more
        self.bytes = size


def declared_length(headers: Mapping[str, str], limits: Limits) -> int | None:
    """What Content-Length says, None for chunks. Raises TooLarge before a byte is read."""
    if "Transfer-Encoding" in headers:
        return None
    length = int(headers.get("Content-Length", "0"))
    _refuse_size(length, limits)
    return length


async def read(content: StreamReader, length: int | None, limits: Limits, share: Share) -> bytes:
    """The whole body. Raises TooLarge, UploadStalled, BadRequest or NodeBusy."""
    share.grow_to(length or 0)
    if content.is_eof():
        return content.read_nowait()  # a small body came with its head
    parts: list[bytes] = []
    size = 0
    start = time.monotonic()
    while True:
        part = await _next(content, limits, start, size)
        if not part and content.at_eof():
            break
        size += len(part)
        _refuse_size(size, limits)
        share.grow_to(size)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _next(content: StreamReader, limits: Limits, start: float, size: int) -> bytes:
    spent = time.monotonic() - start
    if spent > _RATE_AFTER_SECONDS and size < (spent - _RATE_AFTER_SECONDS) * limits.body_rate:
        raise UploadStalled(f"a body must come at {limits.body_rate} bytes/s")
    if spent > limits.body_seconds:
        raise UploadStalled(f"a body may take {limits.body_seconds:g} s")
    try:
        async with asyncio.timeout(min(limits.body_idle_seconds, limits.body_seconds - spent + 0.01)):
            return await content.readany()
    except TimeoutError:
        raise UploadStalled("no more of the body came") from None
    except (ConnectionError, BadRequest):
        raise
    except Exception:  # aiohttp's own: the body's framing broke, or ended early
        raise BadRequest("the body's framing is malformed") from None


def _refuse_size(size: int, limits: Limits) -> None:
    if size > limits.body_bytes:
        raise TooLarge(f"a body may have {limits.body_bytes} bytes", limit_bytes=limits.body_bytes)
