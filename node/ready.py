"""Rows whose inputs are there, of all models: which of them make the next batch."""

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
        return min(row.job.deadline - row.run_ms / 1000 for row in self.rows)


class Ready:
    """The heap between decoding and running."""

    def __init__(self, jobs: Jobs, costs: Costs, options: Options) -> None:
        self._jobs = jobs
        self._costs = costs
        self._options = options
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
        self._shares.charge(batch.engine, self._costs.run_ms(batch.bucket, batch.size))

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
            if self._loop.time() + row.run_ms / 1000 <= row.job.deadline:
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
        assert first.inputs is not None
        row_bytes = sum(array.nbytes for array in first.inputs.values())
        most = 1 if first.alone else min(self._options.max_rows, self._options.max_bytes // max(row_bytes, 1))
        buckets = bucket[0].buckets
        sizes = [size for size in buckets if size <= most] or [buckets[0]]
        waiting = 1 + sum(1 for _ in islice(others.rows(), idle * sizes[-1] - 1))
        cost = partial(self._costs.run_ms, bucket)
        # Rows are spread over idle runners before they are joined on one.
        return best_size(ceil(waiting / idle), sizes, cost, gain=self._options.gain, most_ms=self._options.max_ms)
