"""Fields that every request of a load test carries: a key, or whatever the target wants (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
# Written by the generator itself.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


class BadHeader(Exception):
    """A field that no request may carry; one line, without the value, which may be a secret."""


def own_headers(key: str, given: Iterable[str]) -> dict[str, str]:
    """`key` as X-Api-Key, and `given` as they are: `Authorization: Bearer …`. Raises BadHeader."""
    fields = {"X-Api-Key": key} if key else {}
    for text in given:
        name, colon, value = text.partition(":")
        name = name.strip()
        if not colon or not _NAME.fullmatch(name):
            raise BadHeader(f"a header is written NAME: VALUE, not {name!r} alone" if not colon else "no header's name")
        if name.lower() in _OURS:
            raise BadHeader(f"{name} is written by the generator")
        fields[name] = value.strip()
    for name, value in fields.items():
        if not (value.isascii() and value.isprintable()):
            raise BadHeader(f"the value of {name} holds characters that no header may hold")
    return fields
