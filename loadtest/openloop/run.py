"""One run of the open loop: look whether the target answers at all, send the schedule, sum up."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec

from loadtest.openloop.address import Address, tls
from loadtest.openloop.generator import Generator
from loadtest.openloop.mix import Mix, Sendable
from loadtest.openloop.pool import Pool
from loadtest.openloop.recorder import Recorder
from loadtest.openloop.results import Client, LoadRun
from loadtest.openloop.shot import Shot
from loadtest.openloop.verdict import Kind
from loadtest.schedule import SCHEDULES, Phase, arrivals

KNEE = "knee"
Tell = Callable[[str], None]


class CannotLoad(Exception):
    """Why there is nothing to measure; one line."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. Durations are as the names say."""

    target: Address
    classes: dict[str, float]
    protocols: dict[str, float]
    rate: float
    seconds: float
    schedule: str = "steady"
    poisson: bool = True
    seed: int = 1
    connections: int = 200
    patience_seconds: float = 60.0
    knee_ms: float = 1000.0
    headers: str = ""
    ca: Path | None = None


async def load(order: Order, mix: Mix, tell: Tell) -> LoadRun:
    """Raises CannotLoad, BadTarget."""
    first = mix.make_all()[0]
    tell(f"{order.target} answers in {await _first_contact(order, first):.0f} ms")
    plan = SCHEDULES[order.schedule](order.rate, order.seconds)
    recorder = Recorder(plan, list(order.classes))
    return await _Run(order, mix, plan, recorder, tell).finish()


class _Run:
    def __init__(self, order: Order, mix: Mix, plan: list[Phase], recorder: Recorder, tell: Tell) -> None:
        self._order = order
        self._mix = mix
        self._plan = plan
        self._recorder = recorder
        self._tell = tell
        self._stopped = ""
        self._phase = -1
        self._generator = Generator(self._shots(), recorder.ended, order.patience_seconds, self._goes_on)

    async def finish(self) -> LoadRun:
        order, generator, recorder = self._order, self._generator, self._recorder
        pool = _pool(order, order.connections, generator.ended)
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        try:
            await generator.run(pool, started=recorder.begin)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        return LoadRun(
            made=made,
            target=str(order.target),
            schedule=order.schedule,
            rate=order.rate,
            seconds=order.seconds,
            poisson=order.poisson,
            classes=order.classes,
            protocols=order.protocols,
            seed=order.seed,
            stopped=self._stopped,
            step_seconds=recorder.step_seconds,
            plan=self._plan,
            phases=recorder.phases,
            timeline=recorder.timeline,
            client=Client(
                late=recorder.late,
                cpu=generator.cpu_seconds / generator.seconds,
                connections=pool.most,
                opened=pool.opened,
                limit=order.connections,
                held_back=pool.held_back,
                machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            ),
        )

    def _shots(self) -> Iterator[Shot]:
        rng = Random(self._order.seed)
        for due, phase in arrivals(self._plan, rng if self._order.poisson else None):
            yield Shot(self._mix.draw(rng), due, phase)

    def _goes_on(self, shot: Shot) -> bool:
        """Whether the target bore the phase before; asked when a request is due, so that its last answers are in."""
        before, self._phase = self._phase, shot.phase
        if shot.phase == before:
            return True
        if before >= 0 and self._order.schedule == KNEE:
            why = self._recorder.overload(before, self._generator.open, self._order.knee_ms)
            if why:
                self._stopped = f"{self._plan[before].name} was too much: {why}"
                return False
        if len(self._plan) > 1:
            self._tell(f"{self._plan[shot.phase].name}: {self._plan[shot.phase].end:g} requests/s")
        return True

    def _interrupted(self) -> None:
        self._stopped = "interrupted"
        self._generator.stop()


def knee_of(run: LoadRun) -> float:
    """The highest rate that was borne, requests a second; 0 when not even the first step was."""
    borne = [
        phase for phase, tallies in zip(run.plan, run.phases, strict=True) if any(t.sent for t in tallies.values())
    ]
    if run.stopped:
        borne.pop()
    return borne[-1].end if borne else 0.0


def _pool(order: Order, connections: int, ended: Callable[[Shot], None]) -> Pool:
    return Pool([order.target], connections, ended, headers=order.headers, context=tls(order.target, order.ca))


async def _first_contact(order: Order, sendable: Sendable) -> float:
    """Milliseconds until the first answer. Raises CannotLoad when that is none, or rubbish."""
    shot = Shot(sendable, 0.0, 0)
    generator = Generator(iter([shot]), lambda _: None, order.patience_seconds)
    await generator.run(_pool(order, 1, generator.ended))
    assert shot.verdict is not None
    match shot.verdict.kind:
        case Kind.LOST:
            raise CannotLoad(f"{order.target}: {shot.verdict.why}")
        case Kind.FAILED | Kind.WRONG:
            raise CannotLoad(f"{order.target} answers POST {sendable.path} with: {shot.verdict.why}")
    return shot.from_sent_ms
