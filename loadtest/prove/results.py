"""What a proof found: every request, every trial; kept as JSON."""

from __future__ import annotations

import msgspec

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.verdict import Kind

KIND = "fleetgate prove"


class Hit(msgspec.Struct, frozen=True, array_like=True):
    """One request. `due` is seconds from the start, `ms` counts from there."""

    due: float
    size_class: str
    kind: Kind
    why: str
    ms: float
    attempts: int
    resent: int


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """When what was done. Seconds from the start; None: never."""

    name: str
    begin: float  # of the quiet part before
    harm: float
    repaired: float  # nothing more is done from here on
    noticed: float | None
    recovered: float | None
    end: float  # of the quiet part after


class ProveRun(msgspec.Struct, frozen=True, kw_only=True):
    """One proof."""

    kind: str = KIND
    version: int = 1
    made: str  # day and time, UTC
    machine: str
    fleet: str  # in words
    rate: float  # requests a second
    trials: list[Trial]
    hits: list[Hit]
    late: Histogram  # of the client itself
    left_out: list[str]  # what was not tried, and why
    untoward: str = ""  # why the proof ended before its end
