"""Plays a recorded trace again: the load as it came, and the fleet that served it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from gateway.trace import TraceLine
from loadtest.simulate.arrivals import Arrival, Load
from loadtest.simulate.machines import FleetPlan, Machine


class BadTrace(Exception):
    """A trace that cannot be read, in one line."""


def read(*paths: Path) -> list[TraceLine]:
    """All lines of all files in order of arrival; raises BadTrace. Last lines cut short by a crash are left out."""
    found = sorted((line for path in paths for line in _decoded(path)), key=lambda line: line.at)
    if not found:
        raise BadTrace(f"{', '.join(map(str, paths))}: no requests in it")
    return found


def _decoded(path: Path) -> Iterator[TraceLine]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadTrace(f"{path}: {error.strerror}") from error
    decode = msgspec.json.Decoder(TraceLine).decode
    last = len(lines) - 1
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except msgspec.DecodeError as error:
            if number != last:
                raise BadTrace(f"{path}, line {number + 1}: {error}") from error


def load_of(lines: Iterable[TraceLine], name: str, *, faster: float = 1.0) -> Load:
    """The arrivals, `faster` times as dense. Work of requests that nobody answered is taken as predicted."""
    arrivals: list[Arrival] = []
    start: float | None = None
    for line in lines:
        start = line.at if start is None else start
        actual = line.service_ms * line.speed if line.service_ms > 0 and line.speed > 0 else line.cost_ms
        if actual <= 0.0:
            continue
        arrivals.append(
            Arrival(
                at=(line.at - start) / faster,
                actual_ms=actual,
                cost_ms=line.cost_ms,
                heavy=line.heavy,
                pixels=line.pixels,
                image_format=line.format,
                body_bytes=line.bytes,
                model=line.model,
            )
        )
    return Load(name=name, arrivals=arrivals)


def fleet_of(lines: Iterable[TraceLine]) -> FleetPlan:
    """The nodes that answered, each at its mean learned speed; raises BadTrace when nobody did."""
    speeds: dict[tuple[str, str], list[float]] = {}
    slots: dict[str, int] = {}
    for line in lines:
        if line.node and line.speed > 0.0:
            speeds.setdefault((line.node, line.pool or "light"), []).append(line.speed)
            slots[line.node] = max(1, line.slots)
    if not speeds:
        raise BadTrace("no request of the trace was answered: name a fleet")
    return FleetPlan(
        machines=tuple(
            Machine(name=name, pool=pool, speed=sum(seen) / len(seen), slots=slots[name])
            for (name, pool), seen in sorted(speeds.items())
        )
    )
