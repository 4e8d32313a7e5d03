"""Counts the requests of a run as they end, in constant memory, and judges the steps of a search for the knee. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.results import Moment, Tally, together
from loadtest.openloop.shot import Shot
from loadtest.schedule import Phase

MOMENTS = 600  # of a timeline, at most
BORNE = 0.01  # share of requests that a step may leave unserved
MANY_OPEN = 20  # requests without an answer when a step ends: less is no sign


class Recorder:
    """By size class, by phase and by time."""

    def __init__(self, phases: Sequence[Phase], classes: Sequence[str]) -> None:
        self._start = 0.0
        self.phases = [{name: Tally() for name in classes} for _ in phases]
        self.late = Histogram()
        seconds = sum(phase.seconds for phase in phases)
        self.step_seconds = max(1.0, seconds / MOMENTS)
        self._moments: dict[int, Moment] = {}

    def begin(self, at: float) -> None:
        """The schedule begins now, at this time.monotonic."""
        self._start = at

    def ended(self, shot: Shot) -> None:
        """One request has ended."""
        assert shot.verdict is not None
        size_class = shot.sendable.size_class
        self.late.record(shot.late_ms)
        self.phases[shot.phase][size_class].count(shot)
        number = int((shot.due - self._start) / self.step_seconds)
        moment = self._moments.get(number)
        if moment is None:
            moment = self._moments[number] = Moment(number * self.step_seconds)
        kind = shot.verdict.kind
        moment.ended[kind] = moment.ended.get(kind, 0) + 1
        if kind == "answered":
            (moment.small if size_class == "small" else moment.oversized).record(shot.from_due_ms)

    @property
    def timeline(self) -> list[Moment]:
        """In order."""
        return [self._moments[number] for number in sorted(self._moments)]

    def overload(self, phase: int, open_now: int, limit_ms: float) -> str:
        """Why a step was too much for the target, "" when it bore it.

        `open_now`: requests without an answer yet; `limit_ms`: p99 of small photos.
        """
        tally = together(self.phases[phase].values())
        if tally.not_served > BORNE:
            return f"{tally.not_served:.1%} of its requests were not served"
        if open_now > max(MANY_OPEN, tally.sent * 0.5):
            return f"{open_now} requests were still open at its end"
        small = self.phases[phase].get("small", tally)
        p99 = small.from_due.percentile(99)
        return f"p99 of small photos was {p99:.0f} ms" if p99 > limit_ms else ""
