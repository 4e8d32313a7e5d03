"""Rows on their way through the session: batches, and what is done when one fails or never ends.

Idle runners are given work here; a busy one is handed its next batch before it has finished, and begins it without
waiting for the event loop. Until it does the batch can change: whatever comes or goes meanwhile, it is chosen anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from node.batch_run import Item, Ran, image_of
from node.config import Batch as Options
from node.costs import Costs
from node.crew import Hung, Lost, Unreplaced
from node.engine import Engine, NoSession, State
from node.jobs import Jobs
from node.ready import Batch, Ready
from node.work import Arrays, Job, Row, Stage
from node.workers import Task, Workers
from wire.errors import BadRequest, DeadlineMissed, ModelFailed, NodeBusy, WireError

log = logging.getLogger(__name__)

_AFTER_THE_TICK = 0.002  # the event loop counts in milliseconds


class Watches(Protocol):
    """Who is told what was done: metrics."""

    def decoded(self, row: Row, ms: float) -> None:
        """One image became a row."""
        ...

    def ran(self, engine: Engine, rows: int, ms: float) -> None:
        """One batch went well."""
        ...


@dataclass(slots=True, eq=False)
class _Run:
    """Work of one engine on a runner, which may hang."""

    engine: Engine
    session: int  # which of the engine's
    rows: Sequence[Row]
    task: Task | None = None
    watch: asyncio.TimerHandle | None = None


class Running:
    """The second half of a row's way. `pump` gives idle threads work, here and before."""

    def __init__(
        self,
        jobs: Jobs,
        workers: Workers,
        costs: Costs,
        options: Options,
        hang_seconds: float,
        watch: Watches,
        pump: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._workers = workers
        self._costs = costs
        self._hang_seconds = hang_seconds
        self._watcher = watch
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self._ready = Ready(jobs, costs, options, workers.count)
        self._handed: Batch | None = None
        self._changed = False  # something came since it was chosen
        self._look_again: asyncio.TimerHandle | None = None

    def push(self, row: Row, inputs: Arrays | None) -> None:
        """Add a row whose inputs are there, or a small image for a session that decodes."""
        row.inputs = inputs
        self._jobs.move(row, Stage.READY)
        self._ready.push(row)
        self._changed = True

    def start(self) -> None:
        """Give idle runners work, and a busy one its next."""
        if self._handed is not None and (self._changed or self._workers.idle > 0):
            self._take_back()
        self._changed = False
        while self._workers.idle > 0 and (batch := self._ready.next(self._workers.idle)):
            self._begin(batch)
        # Below 0 something waits for a thread already, perhaps the judgement of a session: it must not be overtaken.
        if self._handed is None and self._workers.idle == 0 and (batch := self._ready.next(1)):
            self._hand(batch)

    def leave(self, job: Job) -> None:
        """Before `job` ends: what has begun of it is no longer in the heap, and the rest is."""
        if self._handed is not None and any(row.job is job for row in self._handed.rows):
            self._take_back()

    def _begin(self, batch: Batch) -> None:
        run, work, back = self._prepared(batch)
        run.task = self._workers.submit(work, back)
        self._begun(batch, run)

    def _hand(self, batch: Batch) -> None:
        run, work, back = self._prepared(batch)
        self._handed = batch
        run.task = self._workers.hand(work, back, partial(self._begun, batch, run))
        # Then one of its rows is too late: it leaves, and others may come with the rest.
        self._look_again = self._loop.call_at(batch.latest + _AFTER_THE_TICK, self._choose_anew)

    def _choose_anew(self) -> None:
        self._changed = True
        self.start()

    def _take_back(self) -> None:
        """The handed batch back into the heap, unless a runner has begun it."""
        batch = self._handed
        if self._workers.take_back():
            assert batch is not None
            self._forget_handed()
            self._ready.put_back(batch)

    def _forget_handed(self) -> None:
        self._handed = None
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None

    def _begun(self, batch: Batch, run: _Run) -> None:
        if batch is self._handed:
            self._forget_handed()
        self._ready.charge(batch)
        for row in batch.rows:
            self._jobs.move(row, Stage.RUNNING)
            row.job.started = True
        self._watch(run)

    def _watch(self, run: _Run) -> None:
        run.watch = self._loop.call_later(self._hang_seconds, self._hung, run)

    def _prepared(self, batch: Batch) -> tuple[_Run, Callable[[], Ran], Callable[..., None]]:
        engine, rows = batch.engine, batch.rows
        run = _Run(engine, engine.session, rows)
        items: list[Item] = [row.inputs if row.inputs is not None else image_of(row) for row in rows]
        return run, partial(engine.answer, items), partial(self._ran, batch, run)

    def _ran(self, batch: Batch, run: _Run, ran: Ran | None, error: BaseException | None, ms: float) -> None:
        """A batch came back."""
        assert run.watch is not None
        run.watch.cancel()
        now = time.monotonic()
        run_ms = ms if ran is None else ran.run_ms
        for job in {row.job: None for row in batch.rows}:
            job.infer_ms += run_ms
            job.inferred_at = now
        if ran is None:
            self._failed(run, error)
        else:
            run.engine.went_well(run.session)
            for row, ended, decode_ms in zip(batch.rows, ran.rows, ran.decode_ms, strict=True):
                if decode_ms:
                    row.job.decode_ms += decode_ms
                    row.job.decoded_at = now - run_ms / 1000
                if isinstance(ended, WireError):
                    self._jobs.drop(row)
                    self._jobs.fail(row.job, ended)
                else:
                    self._learn_decode(row, decode_ms)
                    self._jobs.finish(row, ended)
            if good := sum(not isinstance(ended, WireError) for ended in ran.rows):
                self._watcher.ran(run.engine, good, run_ms)
                if good == len(batch.rows):
                    self._costs.learn_run(batch.bucket, batch.size, run_ms)
        self._pump()

    def _learn_decode(self, row: Row, ms: float) -> None:
        if ms:
            assert row.header is not None
            self._costs.learn_decode(row.header.format, row.header.pixels, ms)
            self._watcher.decoded(row, ms)

    def _hung(self, run: _Run) -> None:
        """It does not come back. It takes with it the session it is in, and nothing that has not begun."""
        assert run.task is not None
        self._take_back()
        if self._workers.abandon(run.task):
            self._unanswered(run.rows)
            self._lose(run, f"a run has not ended after {self._hang_seconds:g} s", hung=True)
        self._pump()

    def _failed(self, run: _Run, error: BaseException | None) -> None:
        """A batch failed. Its rows are tried alone, so that one poisonous input harms nobody else."""
        rows = run.rows
        log.warning("a batch failed", extra={"model": run.engine.title, "rows": len(rows), "why": _line(error)})
        if isinstance(error, Hung):
            self._unanswered(rows)
            run.engine.hangs += 1
            if run.engine.hopeless:
                self._lose(run, "it hangs again and again", hung=False)
        elif isinstance(error, (NoSession, Unreplaced)):
            self._again(rows)
            if isinstance(error, Unreplaced):
                self._lose(run, str(error), hung=False)
        elif len(rows) > 1 or (isinstance(error, Lost) and not rows[0].alone):
            for row in rows:
                row.alone = True
            self._again(rows)
        elif isinstance(error, BadRequest):
            self._jobs.drop(rows[0])
            self._jobs.fail(rows[0].job, error)
        else:
            self._judge(run.engine, rows[0], error)

    def _unanswered(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._jobs.drop(row)
            self._jobs.fail(row.job, DeadlineMissed("the model did not answer"))

    def _again(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.job.over:
                self._jobs.drop(row)
            else:
                self.push(row, row.inputs)

    def _judge(self, engine: Engine, row: Row, error: BaseException | None) -> None:
        """Is it the input or the session? What the session was warmed with must still run."""
        self._jobs.drop(row)
        run = _Run(engine, engine.session, [])

        def judged(_nothing: Any, sick: BaseException | None, _ms: float) -> None:
            assert run.watch is not None
            run.watch.cancel()
            if sick is None:
                self._jobs.fail(row.job, _blamed_on(error))
            else:
                self._jobs.fail(row.job, _rebuilding())
                self._lose(run, f"the session fails on every input: {_line(sick)}", hung=False)
            self._pump()

        self._take_back()  # the next batch would fail like this one
        run.task = self._workers.submit(engine.probe, judged)
        self._watch(run)

    def _lose(self, run: _Run, why: str, *, hung: bool) -> None:
        """Have the session rebuilt. Who has the time waits for that; the others may try elsewhere at once."""
        engine = run.engine
        if run.session != engine.session or engine.state is not State.READY:
            return  # it is gone already, with another run
        self._take_back()
        engine.fell_sick(why, hung=hung, then=partial(self._rebuilt, engine))
        soonest = self._loop.time() + engine.rebuild_seconds
        self._refuse(engine, lambda job: job.deadline < soonest + job.predicted_ms / 1000)

    def _rebuilt(self, engine: Engine, well: bool) -> None:
        """Whether the session could be rebuilt at once; if not, nobody knows how long it takes."""
        if not well:
            self._refuse(engine, lambda _: True)
        self._pump()

    def _refuse(self, engine: Engine, wanted: Callable[[Job], bool]) -> None:
        """Of those that are not running."""
        for job in self._jobs.of(engine):
            if wanted(job) and not any(row.stage is Stage.RUNNING for row in job.rows):
                self._jobs.fail(job, _rebuilding())


def _rebuilding() -> NodeBusy:
    return NodeBusy("the model's session is being rebuilt", headers={"Retry-After": "5"})


def _blamed_on(error: BaseException | None) -> ModelFailed:
    return error if isinstance(error, ModelFailed) else ModelFailed(f"the model failed on this input: {_line(error)}")


def _line(error: BaseException | None) -> str:
    words = str(error).strip().splitlines()
    return (words[0] if words else type(error).__name__)[:200]
