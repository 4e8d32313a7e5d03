"""Runs the trials one after another while the load goes on."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from time import monotonic

from loadtest.openloop.generator import Generator
from loadtest.openloop.histogram import Histogram
from loadtest.openloop.mix import Mix
from loadtest.openloop.pool import Pool
from loadtest.openloop.shot import Shot
from loadtest.prove.account import LOST
from loadtest.prove.fleet import Fleet
from loadtest.prove.results import Hit, ProveRun
from loadtest.prove.results import Trial as Result
from loadtest.prove.trials import Trial, Untoward, whole
from loadtest.prove.watch import Watch
from loadtest.schedule import arrivals, steady

CONNECTIONS = 200
PATIENCE_SECONDS = 45.0  # beyond the gateway's own deadline
MOMENT_SECONDS = 20.0  # the longest that we wait for the right moment to do harm
LONGEST_HOURS = 3

Tell = Callable[[str], None]


class Stage:
    """One proof: `await Stage(...).run(trials)`."""

    def __init__(self, fleet: Fleet, mix: Mix, rate: float, quiet_seconds: float, tell: Tell) -> None:
        self._fleet = fleet
        self._mix = mix
        self._rate = rate
        self._quiet = quiet_seconds
        self._tell = tell
        self._hits: list[Hit] = []
        self._late = Histogram()
        self._results: list[Result] = []
        self._generator = Generator(self._shots(), self._ended, PATIENCE_SECONDS)
        self._start = 0.0

    async def run(self, trials: Sequence[Trial], left_out: list[str]) -> ProveRun:
        """Everything; what goes wrong beyond the trials ends it early and is said in the result."""
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        pool = Pool(self._fleet.addresses, CONNECTIONS, self._generator.ended)
        untoward = ""
        load = asyncio.create_task(self._generator.run(pool, self._begin))
        try:
            async with Watch(self._fleet) as watch:
                for trial in trials:
                    await self._perform(trial, watch)
        except Untoward as error:
            untoward = str(error)
        finally:
            self._generator.stop()
            await load
        return ProveRun(
            made=made,
            machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            fleet=f"{', '.join(self._fleet.nodes)} with the packaged model, Consul, one gateway",
            rate=self._rate,
            trials=self._results,
            hits=sorted(self._hits, key=lambda hit: hit.due),
            late=self._late,
            left_out=left_out,
            untoward=untoward,
        )

    async def _perform(self, trial: Trial, watch: Watch) -> None:
        if trial.prepare is not None:
            await trial.prepare(self._fleet)
        if await self._whole(watch) is None:
            raise Untoward(f"the fleet was not whole before: {trial.name}")
        begin = self._now()
        await asyncio.sleep(self._quiet)
        if any(hit.kind in LOST and hit.due >= begin for hit in self._hits):
            raise Untoward(f"requests were lost before anything was done: {trial.name}")
        if trial.moment is not None:
            moment = trial.moment
            await watch.until(lambda view: moment(self._fleet, view), MOMENT_SECONDS)
        harm = self._now()
        self._tell(trial.name)
        noticing = asyncio.create_task(self._notice(trial, watch))
        await trial.act(self._fleet, watch)
        repaired = self._now()
        recovered = await self._whole(watch)
        await asyncio.sleep(self._quiet)
        self._results.append(
            Result(
                name=trial.name,
                begin=begin,
                harm=harm,
                repaired=repaired,
                noticed=self._since(noticing.result() if noticing.done() else None),
                recovered=self._since(recovered),
                end=self._now(),
            )
        )
        noticing.cancel()
        if recovered is None:
            raise Untoward(f"the fleet did not become whole again after: {trial.name}")

    async def _whole(self, watch: Watch) -> float | None:
        return await watch.until(lambda view: whole(self._fleet, view))

    async def _notice(self, trial: Trial, watch: Watch) -> float | None:
        before, noticed = watch.view, trial.noticed
        if before is None or noticed is None:
            return None
        return await watch.until(lambda view: noticed(self._fleet, before, view))

    def _begin(self, at: float) -> None:
        self._start = at

    def _now(self) -> float:
        return monotonic() - self._start

    def _since(self, at: float | None) -> float | None:
        return None if at is None else at - self._start

    def _shots(self) -> Iterator[Shot]:
        rng = Random(1)
        for due, phase in arrivals(steady(self._rate, LONGEST_HOURS * 3600), rng):
            yield Shot(self._mix.draw(rng), due, phase)

    def _ended(self, shot: Shot) -> None:
        assert shot.verdict is not None
        self._late.record(shot.late_ms)
        self._hits.append(
            Hit(
                shot.due - self._start,
                shot.sendable.size_class,
                shot.verdict.kind,
                shot.verdict.why,
                shot.from_due_ms,
                shot.attempts,
                shot.resent,
            )
        )
