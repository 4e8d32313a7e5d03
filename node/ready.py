"""Rows whose inputs are there, or are made where they run, of all models: which of them make the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import ceil

from node.batching import best_size
from node.config import Batch as Options
from node.costs import Costs
from node.engine import Engine, State
from node.fairness import Shares
from node.jobs import Jobs, too_late
from node.queue import Queue
from node.work import Bucket, Row, Stage

# Two rows one after the other are done after 1 and 2 runs, 1.5 on average: joined, after so many.
_SHORT_GAIN = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows that run together, filled up to `size`."""

    bucket: Bucket
    rows: Sequence[Row]
    size: int

    @property
    def engine(self) -> Engine:
        """Whose rows they are."""
        return self.bucket[0]

    @property
    def latest(self) -> float:
        """When it must begin for all of its rows to be in time, on the clock of the event loop."""
        return min(row.job.deadline - row.left_ms / 1000 for row in self.rows)


class Ready:
    """The heap between decoding and running."""

    def __init__(self, jobs: Jobs, costs: Costs, options: Options, runners: int) -> None:
        self._jobs = jobs
        self._costs = costs
        self._options = options
        self._runners = runners
        self._loop = asyncio.get_running_loop()
        self._queues: dict[Bucket, Queue] = {}
        self._shares = Shares()

    def push(self, row: Row) -> None:
        """Add a row, which is of this stage already."""
        self._queue(row.bucket).push(row)

    def next(self, idle: int) -> Batch | None:
        """Take out the batch that is next when `idle` runners are free; none when nothing can run."""
        bucket = self._most_urgent()
        return self._batch(bucket, max(1, idle)) if bucket is not None else None

    def put_back(self, batch: Batch) -> None:
        """One that has not begun; those that nobody waits for any more stay out."""
        self._queue(batch.bucket).put_back([row for row in batch.rows if row.stage is Stage.READY])

    def charge(self, batch: Batch) -> None:
        """It has begun: its model's turn is over."""
        decoding = sum(row.left_ms - row.run_ms for row in batch.rows)
        self._shares.charge(batch.engine, self._costs.run_ms(batch.bucket, batch.size) + decoding)

    def _queue(self, bucket: Bucket) -> Queue:
        queue = self._queues.get(bucket)
        if queue is None:
            queue = self._queues[bucket] = Queue(Stage.READY)
        return queue

    def _most_urgent(self) -> Bucket | None:
        """Of the model whose turn it is, the bucket whose first row is the first of all; of those that can run."""
        first: tuple[float, float] | None = None
        chosen: Bucket | None = None
        for bucket, queue in list(self._queues.items()):
            row = self._head(queue)
            if row is None:
                del self._queues[bucket]
            elif bucket[0].state is State.READY:
                place = self._shares.turn(bucket[0]), row.key
                if first is None or place < first:
                    first, chosen = place, bucket
        return chosen

    def _head(self, queue: Queue) -> Row | None:
        """The head of a queue that can still be answered in time."""
        while row := queue.head():
            if self._loop.time() + row.left_ms / 1000 <= row.job.deadline:
                return row
            self._jobs.drop(row)
            self._jobs.fail(row.job, too_late(row.job))
        return None

    def _batch(self, bucket: Bucket, idle: int) -> Batch:
        """As many of the bucket's rows as pay off, most urgent first, and the size the session fills them up to."""
        queue = self._queues[bucket]
        first = queue.pop()
        if not bucket[0].batched:
            return Batch(bucket, [first], 1)
        size = self._size(bucket, first, queue, idle)
        rows = [first]
        while len(rows) < size and (row := self._head(queue)) and not row.alone:
            rows.append(queue.pop())
        return Batch(bucket, rows, size)

    def _size(self, bucket: Bucket, first: Row, others: Queue, idle: int) -> int:
        engine, options = bucket[0], self._options
        row_bytes = max(engine.row_bytes(bucket), 1)
        most = 1 if first.alone else min(options.max_rows, options.max_bytes // row_bytes)
        buckets = engine.buckets
        sizes = [size for size in buckets if size <= most] or [buckets[0]]
        waiting = 1 + sum(1 for _ in islice(others.rows(), self._runners * sizes[-1] - 1))
        cost = partial(self._costs.run_ms, bucket)
        # Rows are spread over idle runners before they are joined on one.
        spread, gain = idle, options.gain
        if engine.decodes:  # each runner has a core: the busy ones will soon take rows, too
            if waiting > self._runners:
                spread = self._runners
            else:  # all would soon be done one by one: unless joining is nearly free, it would only hold up the first
                gain = min(gain, _SHORT_GAIN)
        return best_size(ceil(waiting / spread), sizes, cost, gain=gain, most_ms=options.max_ms)
