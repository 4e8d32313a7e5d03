"""Heads that came before, but for the values of a few fields: what the parser said of them, remembered (pure).

Clients and nodes send the same bytes again and again. Whatever the strict parser made of a head is true of every head
that differs from it only in values of plain characters; all else, down to the case of a letter, must be the same. Only
whole heads at the beginning of a message may be looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

# Longer heads, and values, are parsed each time. The tightest limits that gateway/config.py allows let twice such a
# value pass, so none that was short enough for them is replaced by one that is not.
LONGEST_HEAD: Final = 2048
_LONGEST_VALUE: Final = 256
HEADS: Final = 4096
_ZERO: Final = ord("0")
_LONGEST_LENGTH: Final = 10

Meaning = TypeVar("Meaning")
Key = tuple[object, ...]


class HeadMemo(Generic[Meaning]):
    """Meanings of heads, by everything but the values of the `varying` fields."""

    __slots__ = ("_known", "_split", "get")

    def __init__(self, varying: Iterable[str]) -> None:
        names = b"|".join(re.escape(name.encode()) for name in varying)
        value = rb"[!-~](?:[ -~]{0,%d}[!-~])?" % (_LONGEST_VALUE - 2)
        self._split = re.compile(rb"\r\n((?i:%b)): (%b)(?=\r\n)" % (names, value)).split
        self._known: dict[Key, Meaning] = {}
        self.get = self._known.get

    def look(self, data: bytes, whose: str = "") -> tuple[Key, list[bytes], int] | None:
        """The head's key, its varying values, and where its body begins; None if it is not here in full, or long.

        The same bytes may mean different things `whose` they are.
        """
        end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD)
        if end < 0:
            return None
        pieces = self._split(data[: end + 2])
        values = pieces[2::3]
        del pieces[2::3]
        return (whose, *pieces), values, end + 4

    def keep(self, key: Key, meaning: Meaning) -> None:
        """Remember what the parser said of a head with this key."""
        if len(self._known) >= HEADS:
            self._known.clear()  # strangers choose heads; whoever still comes is parsed anew, once
        self._known[key] = meaning


def varying_names(key: Key) -> list[str]:
    """The fields whose values were left out of a key, in lower case, in order."""
    return [name.decode().lower() for name in key[2::2] if isinstance(name, bytes)]


def one_head(data: bytes, end: int, start: bytes, fields: int) -> bool:
    """Whether `data` up to `end` is the very head that the parser saw: its start, a line per field, and an empty one.

    Parsers skip empty lines before a head, join folded lines, and some take a lone line feed for an end.
    """
    head = data[:end]
    lines = head.count(b"\r\n")
    return data.startswith(start) and lines == fields + 2 and lines == head.count(b"\n") == head.count(b"\r")


def plain_length(value: bytes) -> int:
    """A Content-Length above 0 that all parsers read alike; 0 for any other."""
    return int(value) if value.isdigit() and value[0] != _ZERO and len(value) <= _LONGEST_LENGTH else 0
