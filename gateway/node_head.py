"""The head of a request to a node, rebuilt from parsed parts (pure).

Nothing that reaches the node's parser was copied raw: a field that could end its line early is refused here,
however it got in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from wire.errors import BadRequest
from wire.headers import BUDGET_MS

# Requests without a body say nothing about one, unless their method expects it (RFC 9110 section 8.6).
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class OutgoingBody(Protocol):
    """What follows a head; gateway/body.py has the one of a client's request."""

    @property
    def replayable(self) -> bool:
        """It can be sent once more."""
        ...

    @property
    def complete(self) -> bool:
        """All of it is here."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes; None when unknown, so that it goes out in chunks."""
        ...

    @property
    def buffered(self) -> list[bytes]:
        """What is here of it."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Outgoing(Protocol):
    """What a head is made of; a Request is one."""

    @property
    def method(self) -> str:
        """As the client sent it."""
        ...

    @property
    def target(self) -> str:
        """Path and query."""
        ...

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Clean fields, without Host and length."""
        ...

    @property
    def body(self) -> OutgoingBody:
        """It."""
        ...


def request_head(request: Outgoing, host: str, length: int | None, budget_ms: float) -> bytes:
    """Request line, fields and empty line; `length` None means chunks. Raises BadRequest for a forged line."""
    if length:
        framing = f"Content-Length: {length}\r\n"
    elif length is None:
        framing = "Transfer-Encoding: chunked\r\n"
    else:
        framing = "" if request.method in _BODILESS else "Content-Length: 0\r\n"
    fields = "".join([f"{name}: {value}\r\n" for name, value in request.headers])
    head = (
        f"{request.method} {request.target} HTTP/1.1\r\nHost: {host}\r\n"
        f"{BUDGET_MS}: {max(int(budget_ms), 1)}\r\n{framing}{fields}\r\n"
    )
    # surrogateescape: aiohttp reads the bytes of a field that way, so they leave as they came.
    raw = head.encode("utf-8", "surrogateescape")
    lines = len(request.headers) + (5 if framing else 4)
    if raw.count(b"\n") != lines or raw.count(b"\r") != lines or raw.count(b"\0") or request.target.count(" "):
        raise BadRequest("a header or the target holds a line break, a NUL or a space")
    return raw
