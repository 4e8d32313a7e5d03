"""What the HTTP parser lets pass and we do not: the rest of RFC 9112, applied to one parsed head (pure).

`said` are the fields that mean something to us, by lower-case name (gateway/head.py).
The parser (aiohttp's, on llhttp in strict mode) refuses what is malformed byte by byte. Here is what needs the
whole head, and what is well-formed but ambiguous between two programs that read it: refused, never repaired.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from wire.errors import (
    BadRequest,
    ExpectationFailed,
    HeadersTooLarge,
    MethodNotAllowed,
    TooLarge,
    UriTooLong,
    VersionNotSupported,
    WireError,
)

_HOST = re.compile(
    r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"  # a name or an IPv6 literal, and a port (RFC 3986 3.2)
)
_TARGET = re.compile(r"[!\"$-~]+")  # visible ASCII without '#': a fragment is never sent
HTTP_1_0, HTTP_1_1 = (1, 0), (1, 1)
# CONNECT and TRACE are for proxies, and the parser knows two dozen more; a path says which of these it takes.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def origin_target(method: str, version: Sequence[int], target: str, said: Mapping[str, str]) -> str:
    """The target in origin form (path and query), once the head is found to mean one thing only.

    Raises BadRequest, MethodNotAllowed or VersionNotSupported; after each the connection must be closed.
    """
    if version not in (HTTP_1_1, HTTP_1_0):
        raise VersionNotSupported("HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in _METHODS or target == "*":
        raise MethodNotAllowed("this method is not served here", headers={"Allow": "GET, HEAD, POST, PUT"})
    host = said.get("host")
    if host is not None and not _valid_host(host):
        raise BadRequest("Host is not a host")
    coding = said.get("transfer-encoding")
    if coding is not None:
        _check_coding(version, coding)
    if not _TARGET.fullmatch(target):
        raise BadRequest("the target holds characters that no URI may hold")
    return target if target[0] == "/" else _from_absolute(target, host)


def declared_length(chunked: bool, length: str | None, limit: int) -> int | None:
    """The body's length as its head declares it; None when it comes in chunks. Raises TooLarge above `limit` bytes."""
    if chunked:
        return None
    declared = 0 if length is None else int(length)
    if declared > limit:
        raise TooLarge(f"a body may hold {limit} bytes", limit_bytes=limit)
    return declared


def wants_continue(version: Sequence[int], said: Mapping[str, str]) -> bool:
    """Whether the client waits for `100 Continue` before it sends the body. Raises ExpectationFailed."""
    expectation = said.get("expect")
    if expectation is None or version == HTTP_1_0:
        return False
    if expectation.strip().lower() != "100-continue":
        raise ExpectationFailed("only 100-continue can be expected")
    return True


def size(raw_headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Bytes of all fields together as they stood on the wire."""
    return sum([len(name) + len(value) + 4 for name, value in raw_headers])


def parser_refusal(message: str, line_too_long: bool | None) -> WireError:
    """What the parser's complaint means to the client.

    `message` is its text, of which nothing is passed on (it quotes the request, keys included). `line_too_long` says
    whether the request line or a header was too long; None: neither.
    """
    if line_too_long is not None:
        return UriTooLong("the request line is too long") if line_too_long else HeadersTooLarge("a header is too long")
    if "Too many headers" in message:
        return HeadersTooLarge("there are too many headers")
    if "Invalid HTTP version" in message:
        return VersionNotSupported("HTTP/1.1 and HTTP/1.0 are spoken here")
    return BadRequest("this is not well-formed HTTP/1.1")


@lru_cache(maxsize=256)
def _valid_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None


def _check_coding(version: Sequence[int], coding: str) -> None:
    if version == HTTP_1_0:
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != "chunked":
        raise BadRequest("the only transfer coding spoken here is chunked")


def _from_absolute(target: str, host: str | None) -> str:
    """Path and query of an absolute-form target, whose authority must be what Host says (RFC 9112 3.2.2)."""
    try:
        parts = urlsplit(target)
    except ValueError:
        raise BadRequest("the target is no URI") from None
    if parts.scheme not in ("http", "https") or not _valid_host(parts.netloc):
        raise BadRequest("the target must be a path")
    if host is None or parts.netloc.lower() != host.lower():
        raise BadRequest("the target names another host than Host does")
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path
