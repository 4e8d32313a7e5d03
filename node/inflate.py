"""Compressed request bodies, as the official Triton client sends them: undone, within bounds."""

from __future__ import annotations

import zlib
from contextlib import suppress

from wire.errors import BadRequest, TooLarge, UnsupportedMedia

ACCEPT_ENCODING = "gzip, deflate"
_ANY_WRAPPER = 47  # zlib or gzip, told by its first bytes
_RAW = -15  # what some clients call deflate
_STEP = 1 << 20
_ALWAYS_ALLOWED = 1 << 20  # however small the compressed body is: JSON repeats itself


def coding_of(content_encoding: str | None) -> str:
    """gzip, deflate, or "" for none. Raises UnsupportedMedia."""
    coding = (content_encoding or "").strip().lower()
    if coding in ("", "identity"):
        return ""
    if coding in ("gzip", "x-gzip", "deflate"):
        return "deflate" if coding == "deflate" else "gzip"
    raise UnsupportedMedia("the body's coding is not one we read", headers={"Accept-Encoding": ACCEPT_ENCODING})


def inflate(body: bytes, coding: str, *, most_bytes: int, ratio: int) -> bytes:
    """The body as it was. Raises BadRequest for broken data, TooLarge for a bomb."""
    limit = min(most_bytes, max(ratio * len(body), _ALWAYS_ALLOWED))
    for wrapper in (_ANY_WRAPPER, _RAW) if coding == "deflate" else (_ANY_WRAPPER,):
        with suppress(zlib.error):
            return _inflated(body, wrapper, limit)
    raise BadRequest(f"the body is not {coding}")


def _inflated(body: bytes, wrapper: int, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit + 1
    while body:
        inflater = zlib.decompressobj(wrapper)
        data = body
        while left and not inflater.eof:
            part = inflater.decompress(data, min(_STEP, left))
            data = inflater.unconsumed_tail
            if not part and not data:
                raise BadRequest("the compressed body ends too early")
            parts.append(part)
            left -= len(part)
        if not left:
            raise TooLarge(f"the body is larger than {limit} bytes once decompressed", limit_bytes=limit)
        body = inflater.unused_data  # gzip may have several members
    return b"".join(parts)


def deflate(body: bytes, coding: str) -> bytes:
    """An answer compressed, quickly rather than well."""
    wrapper = 31 if coding == "gzip" else 15
    deflater = zlib.compressobj(1, zlib.DEFLATED, wrapper)
    return deflater.compress(body) + deflater.flush()


def chosen(accept_encoding: str | None) -> str:
    """The coding of ours that the client takes, gzip first; "" for none."""
    taken = set()
    for item in (accept_encoding or "").lower().split(",")[:16]:
        coding, _, parameters = item.partition(";")
        if parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            taken.add(coding.strip())
    return next((coding for coding in ("gzip", "deflate") if coding in taken), "")
