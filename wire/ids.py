"""Names of requests and traces: X-Request-Id and W3C Trace Context."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import msgspec

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Versions after 00 may append fields; what 00 knows stays where it is (Trace Context, section 3.2.4).
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_PAGE_BYTES = 4096


def request_id(offered: str | None) -> str:
    """The client's own id when it is one we can print anywhere, else a new one."""
    if offered and _REQUEST_ID.fullmatch(offered):
        return offered
    return _digits(32)


class Digits:
    """Random hexadecimal digits, had from the system a page at a time: asking it costs more than all else here.

    Not to be shared by processes: one that was forked would give out the same.
    """

    __slots__ = ("_at", "_page")

    def __init__(self) -> None:
        self._page = ""
        self._at = 0

    def take(self, count: int) -> str:
        """The next so many."""
        at = self._at
        if at + count > len(self._page):
            self._page, at = os.urandom(_PAGE_BYTES).hex(), 0
        self._at = at + count
        return self._page[at : at + count]


class Trace(msgspec.Struct, frozen=True, gc=False):
    """One span's place in a trace: lower-case hexadecimal ids, flags as in the header."""

    trace_id: str
    span_id: str
    flags: int = 0

    @property
    def sampled(self) -> bool:
        """Whether the caller may have recorded this trace."""
        return bool(self.flags & _SAMPLED)

    @property
    def traceparent(self) -> str:
        """The header's value, for whom we call."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse_traceparent(value: str | None) -> Trace | None:
    """The caller's span; None when there is none or it is invalid, and then `tracestate` is worth nothing either."""
    match = _TRACEPARENT.fullmatch(value) if value else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups("")
    if (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    # Of the flags only those of version 00 may be passed on.
    return Trace(trace_id, span_id, int(flags, 16) & _SAMPLED)


def child(
    parent: Trace | None, sampled: Callable[[str], bool] | None = None, digits: Callable[[int], str] | None = None
) -> Trace:
    """A new span below `parent`, or the first of a new trace, which `sampled` may choose by its id."""
    digits = digits or _digits
    if parent is not None:
        return Trace(parent.trace_id, digits(16), parent.flags)
    trace_id = digits(32)
    return Trace(trace_id, digits(16), _SAMPLED if sampled is not None and sampled(trace_id) else 0)


def _digits(count: int) -> str:
    return os.urandom(count // 2).hex()
