"""What a request's head means to us, remembered: clients repeat their heads but for a few fields (pure).

Everything that follows from the repeating part, up to the lines for the node, is worked out once per head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from wire.headers import REQUEST_ID, TRACEPARENT, TRACESTATE
from wire.paths import Call

Raw = Sequence[tuple[bytes, bytes]]

# These differ from request to request; whoever needs them reads them anew.
_VARYING: Final = frozenset({"content-length", REQUEST_ID.lower(), TRACEPARENT, TRACESTATE})
# What clients choose is remembered within bounds: names, heads, and bytes of a head.
_NAMES, _HEADS, _LONGEST = 1024, 512, 2048


class Reading:
    """The repeating part of a head; shared by all requests that have it, so never changed."""

    __slots__ = ("call", "client", "inference", "lines", "path", "route", "said", "start")

    def __init__(self, call: Call, client: str, path: str, said: Mapping[str, str], start: str, lines: str) -> None:
        self.call = call
        self.route, self.inference = call.route, call.inference
        self.client = client  # whose request it is
        self.path = path  # without the query
        self.said = said  # fields that mean something to us, by lower-case name, without the varying ones
        self.start = start  # the request line for the node
        self.lines = lines  # the fields for the node, without the varying ones


class Readings:
    """Readings by the repeating part of heads."""

    __slots__ = ("_known", "_names")

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Reading] = {}
        self._names: dict[bytes, str] = {}  # by spelling; "" for names that repeat

    def split(self, raw: Raw) -> tuple[list[tuple[bytes, bytes]], dict[str, str]]:
        """The repeating fields as they stood, and the varying ones by lower-case name."""
        names = self._names
        repeating = []
        varying: dict[str, str] = {}
        for field in raw:
            name = names.get(field[0])
            if name is None:
                name = self._learn(field[0])
            if not name:
                repeating.append(field)
            else:
                value = text(field[1])
                varying[name] = value if name not in varying else f"{varying[name]}, {value}"
        return repeating, varying

    def get(self, key: tuple[object, ...]) -> Reading | None:
        """The reading of such a head, if one is remembered."""
        return self._known.get(key)

    def keep(self, key: tuple[object, ...], repeating: Raw, reading: Reading) -> None:
        """Remember it, unless it is long."""
        if sum([len(name) + len(value) for name, value in repeating]) + len(reading.start) > _LONGEST:
            return
        if len(self._known) >= _HEADS:
            self._known.clear()  # whoever still comes is read anew, once
        self._known[key] = reading

    def _learn(self, spelling: bytes) -> str:
        lower = text(spelling).lower()
        name = lower if lower in _VARYING else ""
        if len(self._names) < _NAMES:
            self._names[spelling] = name
        return name


def text(raw: bytes) -> str:
    """As aiohttp reads fields: bytes that are no UTF-8 survive."""
    return raw.decode("utf-8", "surrogateescape")


def texts(fields: Raw) -> Iterable[tuple[str, str]]:
    """Names and values as text."""
    return [(text(name), text(value)) for name, value in fields]
