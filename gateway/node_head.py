"""The head of a request to a node, rebuilt from parsed parts (pure).

Nothing that reaches the node's parser was copied raw: a field that could end its line early is refused here,
however it got in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
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
    def start(self) -> str:
        """Made by `request_line`."""
        ...

    @property
    def lines(self) -> str:
        """Clean fields, without Host and length, made by `field_lines`."""
        ...

    @property
    def body(self) -> OutgoingBody:
        """It."""
        ...


def request_line(method: str, target: str) -> str:
    """The first line; `target` is path and query. Raises BadRequest for a forged one."""
    if forged(target) or " " in target:
        raise BadRequest("the target holds a line break, a NUL or a space")
    return f"{method} {target} HTTP/1.1\r\n"


def field_lines(fields: Iterable[tuple[str, str]]) -> str:
    """Fields as whole lines. Raises BadRequest for one that would end its line early."""
    lines = []
    for name, value in fields:
        if forged(name) or forged(value):
            raise BadRequest("a header holds a line break or a NUL")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def request_head(request: Outgoing, host: str, length: int | None, budget_ms: float) -> bytes:
    """Request line, fields and empty line; `length` None means chunks. `host` must be a line's part, as `Shelf` has."""
    if length:
        framing = f"Content-Length: {length}\r\n"
    elif length is None:
        framing = "Transfer-Encoding: chunked\r\n"
    else:
        framing = "" if request.method in _BODILESS else "Content-Length: 0\r\n"
    head = (
        f"{request.start}Host: {host}\r\n"
        f"{BUDGET_MS}: {int(budget_ms) if budget_ms > 1 else 1}\r\n{framing}{request.lines}\r\n"
    )
    # surrogateescape: fields were read that way, so their bytes leave as they came.
    return head.encode("utf-8", "surrogateescape")


def forged(text: str) -> bool:
    """Whether it would not stay within its line."""
    return "\n" in text or "\r" in text or "\0" in text
