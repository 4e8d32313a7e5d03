"""What a run of the open loop found: a document that can be kept, shown, and compared with another one's."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.shot import Shot
from loadtest.openloop.verdict import Kind
from loadtest.schedule import Phase

KIND = "fleetgate load"
LATE_P99_MS = 5.0  # beyond this, the client's own delay is no longer small beside what it measures
BUSY_CORE = 0.9  # share of its one core
OWN_SHARE = 0.1  # of the measured p99 that may be the client's own
IDLE_CORE = 0.5  # late, and yet not busy itself


class Tally(msgspec.Struct, omit_defaults=True):
    """Counts and latencies of some requests. `why` counts reasons of everything that is not `answered`."""

    sent: int = 0
    ended: dict[Kind, int] = msgspec.field(default_factory=dict)
    why: dict[str, int] = msgspec.field(default_factory=dict)
    resent: int = 0  # met a connection that the target was just closing, and went out again
    from_due: Histogram = msgspec.field(default_factory=Histogram)  # of answered ones
    from_sent: Histogram = msgspec.field(default_factory=Histogram)

    def count(self, shot: Shot) -> None:
        """One request has ended."""
        assert shot.verdict is not None
        self.sent += 1
        self.resent += bool(shot.resent)
        kind = shot.verdict.kind
        self.ended[kind] = self.ended.get(kind, 0) + 1
        if kind is Kind.ANSWERED:
            self.from_due.record(shot.from_due_ms)
            self.from_sent.record(shot.from_sent_ms)
        else:
            why = f"{kind}: {shot.verdict.why}"
            self.why[why] = self.why.get(why, 0) + 1

    def of(self, kind: Kind) -> int:
        """How many ended so."""
        return self.ended.get(kind, 0)

    @property
    def bad(self) -> int:
        """Wrong, failed or lost; a refusal with its reason is not among them."""
        return self.of(Kind.WRONG) + self.of(Kind.FAILED) + self.of(Kind.LOST)

    @property
    def not_served(self) -> float:
        """Share of requests without a good answer, 0..1."""
        return 1 - self.of(Kind.ANSWERED) / self.sent if self.sent else 0.0


class Moment(msgspec.Struct, omit_defaults=True):
    """A second (or more) of the timeline: what was due in it."""

    at: float  # seconds from the start
    ended: dict[Kind, int] = msgspec.field(default_factory=dict)
    small: Histogram = msgspec.field(default_factory=Histogram)  # from due
    oversized: Histogram = msgspec.field(default_factory=Histogram)


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """How the generator itself fared."""

    late: Histogram  # between due and fired
    cpu: float  # of one core
    connections: int  # at once, at most
    opened: int
    limit: int
    held_back: int  # requests that found all connections busy and waited in the client
    machine: str

    @property
    def faults(self) -> list[str]:
        """Why its latencies are not the target's alone; empty when they are."""
        found = []
        late = self.late.percentile(99)
        if late > LATE_P99_MS:
            found.append(f"it came to 1 in 100 requests more than {late:.1f} ms late (up to {self.late.max_ms:.0f} ms)")
        if self.cpu > BUSY_CORE:
            found.append(f"it used {self.cpu:.0%} of its one core")
        elif found and self.cpu < IDLE_CORE:
            found.append("other programs kept it from its core")
        return found


class LoadRun(msgspec.Struct, kw_only=True):
    """One run."""

    kind: str = KIND
    version: int = 1
    made: str  # day and time, UTC
    target: str
    schedule: str
    rate: float  # the schedule's peak, requests a second
    seconds: float  # that the schedule took
    poisson: bool
    classes: dict[str, float]  # shares
    protocols: dict[str, float]
    seed: int
    stopped: str = ""  # why it ended early
    step_seconds: float = 1.0  # of the timeline
    plan: list[Phase]
    phases: list[dict[str, Tally]]  # by size class; as many as the plan has
    timeline: list[Moment]
    client: Client

    @property
    def doubtful(self) -> bool:
        """Whether the client's own delay is a good part of what was measured, so that no goal can be judged by it."""
        client = self.client
        late, measured = client.late.percentile(99), self.total.from_due.percentile(99)
        return client.cpu > BUSY_CORE or late > max(LATE_P99_MS, OWN_SHARE * measured)

    @property
    def by_class(self) -> dict[str, Tally]:
        """All phases together."""
        return {name: together(phase[name] for phase in self.phases) for name in self.classes}

    @property
    def total(self) -> Tally:
        """Everything."""
        return together(tally for phase in self.phases for tally in phase.values())


def together(tallies: Iterable[Tally]) -> Tally:
    """Their sum."""
    found = Tally()
    for other in tallies:
        found.sent += other.sent
        found.resent += other.resent
        for kind, count in other.ended.items():
            found.ended[kind] = found.ended.get(kind, 0) + count
        for why, count in other.why.items():
            found.why[why] = found.why.get(why, 0) + count
        found.from_due.add(other.from_due)
        found.from_sent.add(other.from_sent)
    return found
