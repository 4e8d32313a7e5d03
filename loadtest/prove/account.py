"""From requests and trials to the table: what each trial cost. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.verdict import Kind
from loadtest.prove.results import Hit, ProveRun, Trial

# A failure instead of an answer is lost to whoever asked, whatever words it comes with.
LOST = frozenset({Kind.LOST, Kind.FAILED, Kind.WRONG})
HEAD = ("what was done", "sent", "answered", "refused", "lost", "retried", "p99 before", "during", "after",
        "noticed", "recovered", "why")  # fmt: skip


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One trial. Times are milliseconds of small photos and, `…_seconds`, seconds from the harm."""

    name: str
    sent: int
    answered: int
    refused: int
    lost: int
    retried: int  # answered by a second node or on a second connection
    before_ms: float
    during_ms: float
    after_ms: float
    noticed_seconds: float | None
    recovered_seconds: float | None
    why: dict[str, int]

    @property
    def cells(self) -> list[str]:
        """Under HEAD."""
        counts = (self.sent, self.answered, self.refused, self.lost, self.retried)
        times = (self.before_ms, self.during_ms, self.after_ms)
        return [
            self.name,
            *(str(count) for count in counts),
            *(f"{ms:.0f} ms" if ms else "–" for ms in times),
            *("–" if s is None else f"{s:.1f} s" for s in (self.noticed_seconds, self.recovered_seconds)),
            ", ".join(f"{count} x {why}" for why, count in self.why.items()),
        ]


def rows(run: ProveRun) -> list[Row]:
    """A row per trial."""
    return [_row(trial, run.hits) for trial in run.trials]


def lost(run: ProveRun) -> int:
    """Of all requests, between trials too."""
    return sum(hit.kind in LOST for hit in run.hits)


def _row(trial: Trial, hits: Sequence[Hit]) -> Row:
    over = max(trial.repaired, trial.recovered or 0.0)
    mine = [hit for hit in hits if trial.begin <= hit.due < trial.end]
    return Row(
        name=trial.name,
        sent=len(mine),
        answered=sum(hit.kind is Kind.ANSWERED for hit in mine),
        refused=sum(hit.kind is Kind.REFUSED for hit in mine),
        lost=sum(hit.kind in LOST for hit in mine),
        retried=sum(hit.attempts > 1 or hit.resent > 0 for hit in mine if hit.kind is Kind.ANSWERED),
        before_ms=_p99(mine, trial.begin, trial.harm),
        during_ms=_p99(mine, trial.harm, over),
        after_ms=_p99(mine, over, trial.end),
        noticed_seconds=None if trial.noticed is None else trial.noticed - trial.harm,
        recovered_seconds=None if trial.recovered is None else trial.recovered - trial.harm,
        why=dict(Counter(f"{hit.kind}: {hit.why}" for hit in mine if hit.kind is not Kind.ANSWERED).most_common(4)),
    )


def _p99(hits: Sequence[Hit], since: float, until: float) -> float:
    histogram = Histogram()
    for hit in hits:
        if since <= hit.due < until and hit.size_class == "small" and hit.kind is Kind.ANSWERED:
            histogram.record(hit.ms)
    return histogram.percentile(99)
