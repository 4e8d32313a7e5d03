"""The simulated fleet: nodes with slots, a queue of their own and a true speed that may differ from what they say."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from discovery.instance import Instance, Snapshot

BIG = 10**9  # pixels: no limit


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of node, to buy by the number."""

    speed: float
    slots: int = 1
    price: float = 1.0  # what one costs, in any unit


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One node as it really is."""

    name: str
    pool: str
    speed: float
    slots: int = 1
    slowness: float = 1.0  # how many times slower than it announces
    delay: float = 0.0  # seconds that every answer takes longer, and that it does not tell
    fails: bool = False  # answers at once, with an error
    tells: float = 1.0  # the service time that it tells, over the true one
    max_pixels: int = BIG

    @property
    def pace(self) -> float:
        """True speed."""
        return self.speed / self.slowness


class FleetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes."""

    machines: tuple[Machine, ...]

    @property
    def power(self) -> float:
        """Work done per second by announced speeds, all slots together."""
        return sum(each.speed * each.slots for each in self.machines)

    def slowed(self, pool: str, factor: float) -> FleetPlan:
        """The same with the first node of a pool `factor` times slower than it says."""
        return self.changed(f"{pool}-0", slowness=factor)

    def changed(self, name: str, **facts: float | bool) -> FleetPlan:
        """The same with other facts about one machine; an unknown name changes nobody."""
        return FleetPlan(
            machines=tuple(
                msgspec.structs.replace(each, **facts) if each.name == name else each for each in self.machines
            )
        )

    def snapshot(self, *, pools: bool = True, visible_slots: int = 0) -> Snapshot:
        """What the registry would say. Without pools all are light; `visible_slots` overrides what nodes announce."""
        instances = [
            Instance(
                id=each.name,
                host="127.0.0.1",
                port=9000 + index,
                pool=each.pool if pools else "light",
                capacity=visible_slots or each.slots,
                max_pixels=each.max_pixels,
                speed=each.speed,
            )
            for index, each in enumerate(self.machines)
        ]
        return Snapshot(instances=frozenset(instances))


def plan(light: int, heavy: int, light_kind: Kind, heavy_kind: Kind) -> FleetPlan:
    """A fleet of two kinds."""
    made = [_machine("light", number, light_kind) for number in range(light)]
    return FleetPlan(machines=tuple(made + [_machine("heavy", number, heavy_kind) for number in range(heavy)]))


def _machine(pool: str, number: int, kind: Kind) -> Machine:
    return Machine(name=f"{pool}-{number}", pool=pool, speed=kind.speed, slots=kind.slots)


def _mixed(light: list[float], heavy: list[float]) -> FleetPlan:
    machines = [Machine(name=f"light-{n}", pool="light", speed=speed) for n, speed in enumerate(light)]
    machines += [Machine(name=f"heavy-{n}", pool="heavy", speed=speed) for n, speed in enumerate(heavy)]
    return FleetPlan(machines=tuple(machines))


# The two fleets of the evidence: capacity 12 + 12, and 4 + 4.
FLEETS = {
    "A": _mixed([0.8] * 4 + [1.0] * 4 + [1.2] * 4, [2.0] * 6),
    "B": _mixed([0.8, 1.0, 1.0, 1.2], [4.0]),
}


class Bench:
    """A machine at work: slots, and first come first served behind them."""

    __slots__ = ("busy", "machine", "queue")

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.busy = 0
        self.queue: deque[Any] = deque()

    def take(self, job: Any) -> Any | None:
        """A body has arrived; the job to start now, if a slot is free."""
        if self.busy < self.machine.slots:
            self.busy += 1
            return job
        self.queue.append(job)
        return None

    def finish(self) -> Any | None:
        """A job is done; the next to start, if one waits."""
        if self.queue:
            return self.queue.popleft()
        self.busy -= 1
        return None
