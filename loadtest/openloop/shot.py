"""One request of a run: when it was due, when it really left, how it ended."""

from __future__ import annotations

from loadtest.openloop.mix import Sendable
from loadtest.openloop.verdict import Verdict


class Shot:
    """Times are seconds of time.monotonic."""

    __slots__ = ("attempts", "due", "ended", "fired", "phase", "resent", "sendable", "sent", "verdict")

    def __init__(self, sendable: Sendable, due: float, phase: int) -> None:
        self.sendable = sendable
        self.due = due
        self.phase = phase
        self.fired = 0.0  # when the generator came to it
        self.sent = 0.0  # when its first byte went onto a connection; 0 while it waits for one
        self.ended = 0.0
        self.resent = 0  # how often it met a connection that the target was just closing
        self.attempts = 1  # how many nodes the gateway tried, by its own word
        self.verdict: Verdict | None = None

    @property
    def late_ms(self) -> float:
        """The generator's own fault."""
        return (self.fired - self.due) * 1e3

    @property
    def from_due_ms(self) -> float:
        """What a user waits who comes when it suits them."""
        return (self.ended - self.due) * 1e3

    @property
    def from_sent_ms(self) -> float:
        """What tools tell that measure from their own send."""
        return (self.ended - (self.sent or self.ended)) * 1e3
