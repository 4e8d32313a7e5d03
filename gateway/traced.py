"""What a request that is traced notes on its way, for its spans; the others note nothing (pure)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from wire.headers import TRACEPARENT
from wire.ids import Trace

if TYPE_CHECKING:
    from discovery.instance import Instance


class Hop(msgspec.Struct, frozen=True):
    """One attempt. Times are monotonic seconds."""

    span_id: str
    node: Instance
    started: float
    ended: float
    status: int  # 0 without an answer
    error: str  # code of wire/errors.py


class Traced(msgspec.Struct):
    """`trace` names the attempt that is next or under way; nodes get to know it as their parent."""

    trace: Trace
    parent_id: str  # the caller's span
    hops: list[Hop] = []

    def attempted(self, node: Instance, started: float, ended: float, status: int, error: str) -> None:
        """An attempt is over."""
        self.hops.append(Hop(self.trace.span_id, node, started, ended, status, error))

    def again(self, lines: str) -> str:
        """The lines for another node: each attempt is a span of its own, and so another parent."""
        before = self.trace.traceparent
        self.trace = Trace(self.trace.trace_id, os.urandom(8).hex(), self.trace.flags)
        return lines.replace(f"{TRACEPARENT}: {before}\r\n", f"{TRACEPARENT}: {self.trace.traceparent}\r\n")
