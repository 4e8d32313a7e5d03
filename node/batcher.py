"""The node's work as a whole: rows wait, are decoded, wait, are run.

Everything here happens on the event loop; only the decoding and the runs themselves are on threads. No await lies
between a decision and its bookkeeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.cache import Cache
from node.config import Batch
from node.costs import Costs
from node.decoding import Decoding
from node.jobs import Jobs, too_late
from node.queue import key
from node.room import Room
from node.running import Running, Watches
from node.work import Arrays, Job, Row, Stage
from node.workers import Workers


class Batcher:
    """All rows of the node, of all its models."""

    def __init__(  # noqa: PLR0913 - where all that a row meets on its way is joined
        self,
        *,
        decode: Callable[[Row], Arrays],
        decoders: Workers,
        runners: Workers,
        room: Room,
        costs: Costs,
        options: Batch,
        hang_seconds: float,
        watch: Watches,
        cache: Cache | None = None,
    ) -> None:
        self.room = room
        self.costs = costs
        self._aging = options.aging
        self._cache = cache
        self._jobs = Jobs(room, self._dropped)
        self._running = Running(self._jobs, runners, costs, options, hang_seconds, watch, self._pump)
        self._decoding = Decoding(
            self._jobs, decoders, runners, costs, decode, self._running.push, watch.decoded, self._pump
        )

    async def run(self, job: Job) -> list[Arrays]:
        """The outputs of every row of `job`. Raises a row of the error table; cancelling takes the job out."""
        if not job.left:
            return [row.outputs for row in job.rows if row.outputs is not None]
        future = self._jobs.add(job)
        try:
            for row in job.rows:
                if row.outputs is None:
                    self._enter(row)
            self._pump()
            async with asyncio.timeout_at(job.deadline):
                await future
        except TimeoutError:
            self._leave(job)
            raise too_late(job) from None
        finally:
            self._leave(job)
            self._jobs.remove(job)
            self._pump()
        return [row.outputs for row in job.rows if row.outputs is not None]

    @property
    def waiting(self) -> int:
        """Rows that no thread works on."""
        return self._jobs.stages[Stage.WAITING] + self._jobs.stages[Stage.READY]

    @property
    def running(self) -> int:
        """Rows that a thread works on."""
        return self._jobs.stages[Stage.DECODING] + self._jobs.stages[Stage.RUNNING]

    def _leave(self, job: Job) -> None:
        self._running.leave(job)
        self._decoding.leave(job)

    def _enter(self, row: Row) -> None:
        if self._cache is not None and self._cache.follows(row):
            return
        row.key = key(row.job.arrival, row.predicted_ms, self._aging)
        if row.inputs is not None or (row.job.engine.decodes and self.room.fits_aside(row.decoded_bytes)):
            self._running.push(row, row.inputs)
        else:
            self._decoding.push(row)

    def _dropped(self, row: Row) -> None:
        """Rows that followed this one get its outputs; without outputs, one of them is computed after all."""
        if self._cache is None:
            return
        for each in self._cache.ended(row):
            if row.outputs is not None:
                each.job.cached += 1
                self._jobs.finish(each, row.outputs)
            else:
                each.decode_ms, each.run_ms, each.alone = row.decode_ms, row.run_ms, row.alone
                self._enter(each)

    def _pump(self) -> None:
        """Give every idle thread its next work; runners first, as decoders go by how many of them are left idle."""
        self._running.start()
        self._decoding.start()
