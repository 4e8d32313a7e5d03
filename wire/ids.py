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


def request_id(offered: str | None) -> str:
    """The client's own id when it is one we can print anywhere, else a new one."""
    if offered and _REQUEST_ID.fullmatch(offered):
        return offered
    return os.urandom(16).hex()


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


def child(parent: Trace | None, sampled: Callable[[str], bool] | None = None) -> Trace:
    """A new span below `parent`, or the first of a new trace, which `sampled` may choose by its id."""
    if parent is not None:
        return Trace(parent.trace_id, os.urandom(8).hex(), parent.flags)
    digits = os.urandom(24).hex()
    trace_id = digits[:32]
    return Trace(trace_id, digits[32:], _SAMPLED if sampled is not None and sampled(trace_id) else 0)
