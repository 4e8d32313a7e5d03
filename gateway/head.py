"""A request's fields, sorted in one pass: what goes on to the node, what means something to us, what ends here (pure).

Rules: RFC 9110 section 7.6 (hop-by-hop fields), docs/wire.md (what a client must not be able to say).
"""

from __future__ import annotations

from collections.abc import Iterable

from wire.errors import BadRequest
from wire.headers import (
    EXPLAIN,
    HOP_BY_HOP,
    INFERENCE_HEADER_LENGTH,
    INTERNAL,
    INTERNAL_PREFIX,
    REQUEST_ID,
    TIMEOUT_MS,
    TRACEPARENT,
    TRACESTATE,
)

# PASS goes on; SAID is read by us and written anew, if at all; BOTH is read and goes on; DROP ends here.
_PASS, _SAID, _BOTH, _DROP, _REFUSE = range(5)

_SAID_NAMES = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "transfer-encoding",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        EXPLAIN.lower(),
        REQUEST_ID.lower(),
        TIMEOUT_MS.lower(),
        TRACEPARENT,
        TRACESTATE,
    }
)
_BOTH_NAMES = frozenset({"content-encoding", "content-type", INFERENCE_HEADER_LENGTH.lower()})
# Other programs' words for what X-Forwarded-For says here.
_DROP_NAMES = frozenset({"forwarded", "x-real-ip"})
# Clients choose header names; what we remember of them is bounded.
_NAMES_REMEMBERED = 1024


class Head:
    """`passing` fields as they came; what was `said` by lower-case name, repeated fields joined by commas."""

    __slots__ = ("passing", "said")

    def __init__(self) -> None:
        self.passing: list[tuple[str, str]] = []
        self.said: dict[str, str] = {}


class HeadReader:
    """Sorts fields, and remembers the spellings that clients use."""

    def __init__(self) -> None:
        self._rules: dict[str, tuple[int, str]] = {}

    def read(self, fields: Iterable[tuple[str, str]]) -> Head:
        """Raises BadRequest for a name that two programs may read differently."""
        head = Head()
        passing, said, rules = head.passing, head.said, self._rules
        for field in fields:
            rule, name = rules.get(field[0]) or self._learn(field[0])
            if rule == _PASS:
                passing.append(field)
            elif rule == _DROP:
                continue
            elif rule == _REFUSE:
                raise BadRequest("a header's name holds an underscore, which some read as a dash")
            else:
                said[name] = field[1] if name not in said else f"{said[name]}, {field[1]}"
                if rule == _BOTH:
                    passing.append(field)
        connection = said.get("connection")
        if connection is not None:
            head.passing = _without_named(passing, connection)
        return head

    def _learn(self, spelling: str) -> tuple[int, str]:
        name = spelling.lower()
        if "_" in name:
            rule = _REFUSE
        elif name in _SAID_NAMES:
            rule = _SAID
        elif name in _BOTH_NAMES:
            rule = _BOTH
        elif name in _DROP_NAMES or name in HOP_BY_HOP or name in INTERNAL or name.startswith(INTERNAL_PREFIX):
            rule = _DROP
        else:
            rule = _PASS
        if len(self._rules) < _NAMES_REMEMBERED:
            self._rules[spelling] = rule, name
        return rule, name


def _without_named(fields: list[tuple[str, str]], connection: str) -> list[tuple[str, str]]:
    """The fields less those that `Connection` names."""
    named = {token.strip() for token in connection.lower().split(",")} - {"close", "keep-alive", ""}
    return [field for field in fields if field[0].lower() not in named] if named else fields
