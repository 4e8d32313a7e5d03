"""JSON from strangers: decoded only when its size, depth and number of objects are bounded."""

from __future__ import annotations

import re
from itertools import islice
from typing import TypeVar

import msgspec

from wire.errors import BadRequest, TooLarge

T = TypeVar("T")

MAX_BYTES = 96 << 20
MAX_DEPTH = 32
# An empty object or array costs a hundred bytes of memory for two on the wire.
MAX_OBJECTS = 65_536
MAX_ARRAYS = 1_000_000
MAX_QUOTES = 400_000  # two a string; every string is a match of an expression, and an object of its own
# Far from one, exact parsing needs long arithmetic: up to 50 microseconds a number, with the interpreter held.
MAX_EXTREME_NUMBERS = 1000

# Possessive, and content with a missing end, so that the time is linear whatever comes.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_EXTREME = re.compile(rb"[eE][+-]?0*[1-9][0-9]{2}")
_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


def decode(body: bytes | memoryview, decoder: msgspec.json.Decoder[T]) -> T:
    """What `decoder` makes of `body`. Raises BadRequest or TooLarge, with a sentence that says where."""
    check(body)
    try:
        return decoder.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise BadRequest(f"the JSON is not as it should be: {error}") from None


def check(body: bytes | memoryview) -> None:
    """Refuse JSON that would cost more to hold than it is worth, before it is parsed."""
    if len(body) > MAX_BYTES:
        raise TooLarge(f"JSON may be {MAX_BYTES} bytes long at most", limit_bytes=MAX_BYTES)
    text = bytes(body)
    brackets = text.count(b"{") + text.count(b"[")
    # Fewer brackets than levels allowed, and few numbers: every ordinary request.
    if brackets <= MAX_DEPTH and text.count(b",") <= MAX_EXTREME_NUMBERS:
        return
    if text.count(b'"') > MAX_QUOTES:
        raise TooLarge(f"JSON may hold {MAX_QUOTES // 2} strings at most")
    text = _STRING.sub(b"", text)
    if text.count(b"{") > MAX_OBJECTS or text.count(b"[") > MAX_ARRAYS:
        raise TooLarge(f"JSON may hold {MAX_OBJECTS} objects and {MAX_ARRAYS} arrays at most")
    if _deeper_than(text.translate(_AS_BRACKETS, _ALL_BUT_BRACKETS), MAX_DEPTH):
        raise _too_deep()
    if sum(1 for _ in islice(_EXTREME.finditer(text), MAX_EXTREME_NUMBERS + 1)) > MAX_EXTREME_NUMBERS:
        raise TooLarge(f"more than {MAX_EXTREME_NUMBERS} numbers have exponents of three digits; send them as binary")


def _deeper_than(brackets: bytes, limit: int) -> bool:
    """Peel one level of innermost pairs at a time; what is not balanced fails to parse anyway."""
    if b"[" * (limit + 1) in brackets:
        return True
    for _ in range(limit):
        peeled = brackets.replace(b"[]", b"")
        if len(peeled) == len(brackets):
            return False
        brackets = peeled
    return b"[]" in brackets


def _too_deep() -> BadRequest:
    return BadRequest(f"JSON may be nested {MAX_DEPTH} levels deep at most")
