"""Rows on their way through the session: batches, and what is done when one fails or never ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from math import ceil
from typing import Any

import numpy as np

from node.batching import best_size
from node.config import Batch
from node.costs import Costs
from node.engine import Engine, State
from node.fairness import Shares
from node.jobs import Jobs, too_late
from node.queue import Queue
from node.work import Array, Arrays, Bucket, Row, Stage
from node.workers import Workers
from wire.errors import BadRequest, DeadlineMissed, ModelFailed, NodeBusy

log = logging.getLogger(__name__)

Result = Callable[[Any, BaseException | None, float], None]


class Running:
    """The second half of a row's way."""

    def __init__(
        self,
        jobs: Jobs,
        workers: Workers,
        costs: Costs,
        options: Batch,
        hang_seconds: float,
        on_ran: Callable[[Engine, int, float], None],
    ) -> None:
        self._jobs = jobs
        self._workers = workers
        self._costs = costs
        self._options = options
        self._hang_seconds = hang_seconds
        self._on_ran = on_ran
        self._loop = asyncio.get_running_loop()
        self._ready: dict[Bucket, Queue] = {}
        self._shares = Shares()

    def push(self, row: Row, inputs: Arrays) -> None:
        """Add a row whose inputs are there."""
        row.inputs = inputs
        self._jobs.move(row, Stage.READY)
        queue = self._ready.get(row.bucket)
        if queue is None:
            queue = self._ready[row.bucket] = Queue(Stage.READY)
        queue.push(row)

    def start(self, done: Callable[[], None]) -> None:
        """Give idle runners work; `done` is called after each."""
        while self._workers.idle > 0 and (bucket := self._most_urgent()):
            rows, size = self._batch(bucket)
            self._shares.charge(bucket[0], self._costs.run_ms(bucket, size))
            self._run(bucket, rows, size, done)

    def _most_urgent(self) -> Bucket | None:
        """Of the model whose turn it is, the bucket whose first row is the first of all; of those that can run."""
        first: tuple[float, float] | None = None
        chosen: Bucket | None = None
        for bucket, queue in list(self._ready.items()):
            row = self._head(queue)
            if row is None:
                del self._ready[bucket]
            elif bucket[0].state is State.READY:
                place = self._shares.turn(bucket[0]), row.key
                if first is None or place < first:
                    first, chosen = place, bucket
        return chosen

    def _head(self, queue: Queue) -> Row | None:
        """The head of a queue that can still be answered in time."""
        while row := queue.head():
            if self._loop.time() + row.run_ms / 1000 <= row.job.deadline:
                return row
            self._jobs.drop(row)
            self._jobs.fail(row.job, too_late(row.job))
        return None

    def _batch(self, bucket: Bucket) -> tuple[list[Row], int]:
        """As many of the bucket's rows as pay off, most urgent first, and the size the session fills them up to."""
        queue = self._ready[bucket]
        first = queue.pop()
        if not bucket[0].batched:
            return [first], 1
        size = self._size(bucket, first, queue)
        rows = [first]
        while len(rows) < size and (row := queue.head()) and not row.alone:
            rows.append(queue.pop())
        return rows, size

    def _size(self, bucket: Bucket, first: Row, others: Queue) -> int:
        assert first.inputs is not None
        row_bytes = sum(array.nbytes for array in first.inputs.values())
        most = 1 if first.alone else min(self._options.max_rows, self._options.max_bytes // max(row_bytes, 1))
        buckets = bucket[0].buckets
        sizes = [size for size in buckets if size <= most] or [buckets[0]]
        idle = max(1, self._workers.idle)
        waiting = 1 + sum(1 for _ in islice(others.rows(), idle * sizes[-1] - 1))
        cost = partial(self._costs.run_ms, bucket)
        # Rows are spread over idle runners before they are joined on one.
        return best_size(ceil(waiting / idle), sizes, cost, gain=self._options.gain, most_ms=self._options.max_ms)

    def _run(self, bucket: Bucket, rows: list[Row], size: int, done: Callable[[], None]) -> None:
        engine = bucket[0]
        for row in rows:
            self._jobs.move(row, Stage.RUNNING)
            row.job.started = True
        inputs = [row.inputs for row in rows if row.inputs is not None]

        def ran(outputs: Sequence[Arrays] | None, error: BaseException | None, ms: float) -> None:
            now = time.monotonic()
            for job in {row.job: None for row in rows}:
                job.infer_ms += ms
                job.inferred_at = now
            if outputs is None:
                self._failed(engine, rows, error, done)
            else:
                engine.went_well()
                self._costs.learn_run(bucket, size, ms)
                self._on_ran(engine, len(rows), ms)
                for row, output in zip(rows, outputs, strict=True):
                    self._jobs.finish(row, output)
            done()

        self._submit(engine, lambda: _run(engine, inputs), ran, rows, done)

    def _submit(
        self, engine: Engine, work: Callable[[], Any], result: Result, rows: list[Row], done: Callable[[], None]
    ) -> None:
        """Have a runner do `work`, and take the session for hung when it does not come back."""

        def back(outcome: Any, error: BaseException | None, ms: float) -> None:
            hang.cancel()
            result(outcome, error, ms)

        task = self._workers.submit(work, back)

        def hung() -> None:
            self._workers.abandon(task)
            for row in rows:
                self._jobs.drop(row)
                self._jobs.fail(row.job, DeadlineMissed("the model did not answer"))
            self._lose(engine, f"a run has not ended after {self._hang_seconds:g} s", hung=True)
            done()

        hang = self._loop.call_later(self._hang_seconds, hung)

    def _failed(self, engine: Engine, rows: list[Row], error: BaseException | None, done: Callable[[], None]) -> None:
        """A batch failed. Its rows are tried alone, so that one poisonous input harms nobody else."""
        log.warning("a batch failed", extra={"model": engine.title, "rows": len(rows), "why": _line(error)})
        if len(rows) == 1 and isinstance(error, BadRequest):
            self._jobs.drop(rows[0])
            self._jobs.fail(rows[0].job, error)
            return
        if len(rows) == 1:
            self._judge(engine, rows[0], error, done)
            return
        for row in rows:
            row.alone = True
            if row.job.over or row.inputs is None:
                self._jobs.drop(row)
            else:
                self.push(row, row.inputs)

    def _judge(self, engine: Engine, row: Row, error: BaseException | None, done: Callable[[], None]) -> None:
        """Is it the input or the session? What the session was warmed with must still run."""
        self._jobs.drop(row)

        def judged(_nothing: Any, sick: BaseException | None, _ms: float) -> None:
            if sick is None:
                self._jobs.fail(row.job, _blamed_on(error))
            else:
                self._lose(engine, f"the session fails on every input: {_line(sick)}", hung=False)
            done()

        self._submit(engine, engine.probe, judged, [], done)

    def _lose(self, engine: Engine, why: str, *, hung: bool) -> None:
        engine.fell_sick(why, hung=hung)
        for job in self._jobs.of(engine):
            self._jobs.fail(job, NodeBusy("the model's session is being rebuilt", headers={"Retry-After": "5"}))


def _run(engine: Engine, rows: Sequence[Arrays]) -> list[Arrays]:
    """One batch on a runner's thread: rows joined, and their outputs taken apart again."""
    if not engine.batched:
        return [engine.run(rows[0])]
    outputs = engine.run({name: _join([row[name] for row in rows]) for name in rows[0]})
    return [{name: array[place] for name, array in outputs.items()} for place in range(len(rows))]


def _join(arrays: Sequence[Array]) -> Array:
    return arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)


def _blamed_on(error: BaseException | None) -> ModelFailed:
    return error if isinstance(error, ModelFailed) else ModelFailed(f"the model failed on this input: {_line(error)}")


def _line(error: BaseException | None) -> str:
    words = str(error).strip().splitlines()
    return (words[0] if words else type(error).__name__)[:200]
