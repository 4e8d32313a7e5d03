"""The jobs in progress and the stage of each row: the books that decoding and running share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from node.engine import Engine
from node.room import Room
from node.work import Arrays, Job, Row, Stage
from wire.errors import DeadlineMissed, Hopeless, WireError


class Jobs:
    """Jobs that somebody waits for. A job that is over leaves at once; rows that a thread has in hand leave later."""

    def __init__(self, room: Room, dropped: Callable[[Row], None] = lambda _: None) -> None:
        """`dropped` is told of every row that is done with, once it is."""
        self.room = room
        self._dropped = dropped
        self.stages: Counter[Stage] = Counter()
        self._futures: dict[Job, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._futures)

    def add(self, job: Job) -> asyncio.Future[None]:
        """Whoever waits for the future is told when all rows are done, or why they will not be."""
        future = self._futures[job] = asyncio.get_running_loop().create_future()
        for row in job.rows:
            self.stages[row.stage] += 1
        return future

    def remove(self, job: Job) -> None:
        """Nobody waits any more: answered, failed, too late, or hung up."""
        job.over = True
        future = self._futures.pop(job)
        if future.done() and not future.cancelled():
            future.exception()  # seen: nobody else will look
        for row in job.rows:
            if row.stage in (Stage.WAITING, Stage.READY):
                self.drop(row)

    def of(self, engine: Engine) -> list[Job]:
        """Those of one model."""
        return [job for job in self._futures if job.engine is engine]

    def move(self, row: Row, stage: Stage) -> None:
        """To another stage."""
        self.stages[row.stage] -= 1
        self.stages[stage] += 1
        row.stage = stage

    def drop(self, row: Row) -> None:
        """Done with, well or badly: its memory goes."""
        self.move(row, Stage.DONE)
        self.release(row)
        row.image = row.inputs = None
        self._dropped(row)

    def release(self, row: Row) -> None:
        """Its pixels are gone."""
        if row.held:
            self.room.give(row.held)
            row.held = 0

    def finish(self, row: Row, outputs: Arrays) -> None:
        """One row has its outputs; the last one ends its job."""
        row.outputs = outputs
        self.drop(row)
        row.job.left -= 1
        if not row.job.left:
            future = self._futures.get(row.job)
            if future is not None and not future.done():
                future.set_result(None)

    def fail(self, job: Job, error: WireError) -> None:
        """The job ends with `error`, unless it has ended already."""
        future = self._futures.get(job)
        if future is not None and not future.done():
            future.set_exception(error)


def too_late(job: Job) -> WireError:
    """Which of the two errors a deadline is: nothing lost before any work was put in, a miss after."""
    if job.started:
        return DeadlineMissed()
    return Hopeless("this node cannot answer in time", headers={"Retry-After": "1"})
