"""A request's head as the parser read it, and what it means to us: worked out once for all requests that repeat it.

Clients repeat their heads but for a few fields (gateway/head_memo.py). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.head_memo import HeadMemo, one_head, plain_length, varying_names
from wire.headers import REQUEST_ID, TRACEPARENT, TRACESTATE
from wire.paths import Call

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

Raw = Sequence[tuple[bytes, bytes]]
LENGTH: Final = "content-length"
# These differ from request to request; whoever needs them reads them anew.
_VARYING: Final = frozenset({LENGTH, REQUEST_ID.lower(), TRACEPARENT, TRACESTATE})


class Reading:
    """What a client's head means to us, down to the lines for the node."""

    __slots__ = ("call", "client", "inference", "lines", "path", "route", "said", "start")

    def __init__(self, call: Call, client: str, path: str, said: Mapping[str, str], start: str, lines: str) -> None:
        self.call = call
        self.route, self.inference = call.route, call.inference
        self.client = client  # whose request it is
        self.path = path  # without the query
        self.said = said  # fields that mean something to us, by lower-case name, without the varying ones
        self.start = start  # the request line for the node
        self.lines = lines  # the fields for the node, without the varying ones


class RequestHead:
    """A head less the values that vary; one for all requests that share it. `reading` is set by who first reads it."""

    __slots__ = ("keep_alive", "method", "reading", "repeating", "target", "version")

    def __init__(self, message: RawRequestMessage, repeating: Raw) -> None:
        self.method = message.method
        self.target = message.path
        self.version: tuple[int, int] = message.version
        # What asks for another protocol gets this one; what follows it on the wire is nothing to us.
        self.keep_alive = not message.should_close and not message.upgrade
        self.repeating = repeating
        self.reading: Reading | None = None


class RequestHeads:
    """Heads of all clients' requests that came before."""

    def __init__(self) -> None:
        self._memo = HeadMemo[tuple[RequestHead, list[str], int]](_VARYING)

    def find(self, data: bytes, client: str) -> tuple[RequestHead, dict[str, str], int, int] | None:
        """A head at the beginning of a message: with what varies, the bytes its body has, and where that begins."""
        looked = self._memo.look(data, client)
        known = None if looked is None else self._memo.get(looked[0])
        if looked is None or known is None:
            return None
        head, names, at = known
        values = looked[1]
        size = 0
        if at >= 0 and not (size := plain_length(values[at])):
            return None
        return head, {name: value.decode() for name, value in zip(names, values, strict=True)}, size, looked[2]

    def learn(self, data: bytes, client: str, message: RawRequestMessage, head: RequestHead) -> int:
        """Remember what the parser said of the first bytes of `data`, unless some of it depends on more than those.

        Returns how many bytes this message has in all, or 0 when only the parser knows.
        """
        looked = self._memo.look(data, client)
        if looked is None:
            return 0
        key, values, end = looked
        names = varying_names(key)
        fields = [text(name).lower() for name, _ in message.raw_headers]
        at = names.index(LENGTH) if LENGTH in names else -1
        size = plain_length(values[at]) if at >= 0 else 0
        if (
            one_head(data, end, f"{message.method} ".encode(), len(fields))
            and [name for name in fields if name in _VARYING] == names
            and len(set(names)) == len(names)
            and "transfer-encoding" not in fields
            and not message.upgrade
            and (size or at < 0)
        ):
            self._memo.keep(key, (head, names, at))
            return end + size
        return 0


def split(raw: Raw) -> tuple[list[tuple[bytes, bytes]], dict[str, str]]:
    """The fields that repeat, as they stood, and the varying ones by lower-case name."""
    repeating = []
    varying: dict[str, str] = {}
    for field in raw:
        name = _varying(field[0])
        if not name:
            repeating.append(field)
        else:
            value = text(field[1])
            varying[name] = value if name not in varying else f"{varying[name]}, {value}"
    return repeating, varying


def text(raw: bytes) -> str:
    """As aiohttp reads fields: bytes that are no UTF-8 survive."""
    return raw.decode("utf-8", "surrogateescape")


def texts(fields: Raw) -> Iterable[tuple[str, str]]:
    """Names and values as text."""
    return [(text(name), text(value)) for name, value in fields]


@lru_cache(maxsize=1024)
def _varying(spelling: bytes) -> str:
    """The name in lower case if its values vary, else nothing."""
    name = text(spelling).lower()
    return name if name in _VARYING else ""
