"""What aiohttp's parser lets pass and a node that stands alone must not: the rest of RFC 9112, on a whole head."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp.http_exceptions import LineTooLong

from wire.errors import (
    BadRequest,
    ExpectationFailed,
    HeadersTooLarge,
    UriTooLong,
    VersionNotSupported,
    WireError,
)

_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TARGET = re.compile(r"/[!\"$-~]*")  # origin form, visible ASCII without '#'
_HTTP_1_0, _HTTP_1_1 = (1, 0), (1, 1)


def check_head(
    version: Sequence[int], target: str, headers: Mapping[str, str], raw: Sequence[tuple[bytes, bytes]], most: int
) -> None:
    """Refuse a head that could mean two things. `most` bounds the bytes of all fields together.

    Raises BadRequest, VersionNotSupported or HeadersTooLarge; the connection must be closed after.
    """
    if tuple(version) not in (_HTTP_1_0, _HTTP_1_1):
        raise VersionNotSupported("HTTP/1.1 and HTTP/1.0 are spoken here")
    if sum([len(name) + len(value) + 4 for name, value in raw]) > most:
        raise HeadersTooLarge(f"all headers together may have {most} bytes")
    if any(b"_" in name for name, _ in raw):
        raise BadRequest("a header's name holds an underscore, which some read as a dash")
    host = headers.get("Host")
    if host is not None and not _HOST.fullmatch(host):
        raise BadRequest("Host is not a host")
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (coding.lower() != "chunked" or tuple(version) == _HTTP_1_0):
        raise BadRequest("the only transfer coding spoken here is chunked, in HTTP/1.1")
    if not _TARGET.fullmatch(target):
        raise BadRequest("the target must be a path of visible ASCII characters")


def expects_continue(version: Sequence[int], headers: Mapping[str, str]) -> bool:
    """Whether the client waits for `100 Continue` before it sends the body. Raises ExpectationFailed."""
    expectation = headers.get("Expect")
    if expectation is None or tuple(version) == _HTTP_1_0:
        return False
    if expectation.strip().lower() != "100-continue":
        raise ExpectationFailed("only 100-continue can be expected")
    return True


def parser_refusal(error: BaseException | None, line_limit: int) -> WireError:
    """What the parser's complaint means. Nothing of its text is passed on: it quotes the request, keys included."""
    if isinstance(error, LineTooLong):
        if str(error.args[1]) == str(line_limit):
            return UriTooLong("the request line is too long")
        return HeadersTooLarge("a header is too long")
    text = str(error)
    if "Too many headers" in text:
        return HeadersTooLarge("there are too many headers")
    if "Invalid HTTP version" in text:
        return VersionNotSupported("HTTP/1.1 and HTTP/1.0 are spoken here")
    return BadRequest("this is not well-formed HTTP/1.1")
