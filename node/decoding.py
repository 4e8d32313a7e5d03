"""Images on their way to becoming rows: which one a free decoder takes, within the bytes that may be held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from node.batch_run import known
from node.costs import Costs
from node.engine import Engine
from node.fairness import Shares
from node.jobs import Jobs, too_late
from node.queue import Queue
from node.work import Arrays, Job, Row, Stage
from node.workers import Done, Workers
from wire.errors import TooLarge


class Decoding:
    """The first half of a row's way. `on_ready` takes it on; `decode` runs on a thread; `pump` gives idle threads work,
    here and beyond.

    A decoder that finishes goes on at once with the small picture it was handed; until then that can be another.
    """

    def __init__(
        self,
        jobs: Jobs,
        workers: Workers,
        runners: Workers,
        costs: Costs,
        decode: Callable[[Row], Arrays],
        on_ready: Callable[[Row, Arrays], None],
        on_decoded: Callable[[Row, float], None],
        pump: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._workers = workers
        self._runners = runners
        self._costs = costs
        self._decode = decode
        self._on_ready = on_ready
        self._on_decoded = on_decoded
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self._small: dict[Engine, Queue] = {}
        self._big: dict[Engine, Queue] = {}
        self._shares = Shares()
        self._small_in_hand = self._big_in_hand = 0
        self._handed: Row | None = None
        self._changed = False  # something came since it was chosen

    def push(self, row: Row) -> None:
        """Put a row in its lane. Raises TooLarge when it would not fit into an empty node."""
        room = self._jobs.room
        if not room.ever_fits(row.decoded_bytes):
            raise TooLarge(
                f"decoding this image takes {row.decoded_bytes} bytes; this node may hold {room.big}",
                limit_bytes=room.big,
            )
        self._queue(row).push(row)
        self._changed = True

    def start(self) -> None:
        """Give idle decoders work, and a busy one its next."""
        if self._handed is not None and self._outdated(self._handed):
            self._take_back()
        self._changed = False
        while self._workers.idle > 0 and (row := self._next()):
            self._workers.submit(*self._prepared(row))
            self._begun(row)
        if self._handed is None and self._small_in_hand and (row := self._next(ended=1)):
            self._handed = row
            self._workers.hand(*self._prepared(row), partial(self._begun, row))

    def _outdated(self, row: Row) -> bool:
        """Whether another choice would be made now."""
        free = self._workers.idle > 0 and not self._crowded(row, self._small_in_hand)
        return self._changed or free or self._too_late(row)

    def leave(self, job: Job) -> None:
        """Before `job` ends: what has begun of it is no longer in its lane, and the rest is."""
        if self._handed is not None and self._handed.job is job:
            self._take_back()

    def _take_back(self) -> None:
        """The handed row back into its lane, unless a decoder has begun it."""
        row, self._handed = self._handed, None
        if self._workers.take_back():
            assert row is not None
            self._jobs.release(row)
            self._queue(row).put_back([row])

    def _queue(self, row: Row) -> Queue:
        lane, engine = self._small if self._is_small(row) else self._big, row.job.engine
        if engine not in lane:
            lane[engine] = Queue(Stage.WAITING)
        return lane[engine]

    def _is_small(self, row: Row) -> bool:
        return self._jobs.room.is_small(row.decoded_bytes)

    def _prepared(self, row: Row) -> tuple[Callable[[], Arrays], Done]:
        return partial(self._decode, row), partial(self._decoded, row)

    def _begun(self, row: Row) -> None:
        if row is self._handed:
            self._handed = None
        self._shares.charge(row.job.engine, row.decode_ms)
        self._jobs.move(row, Stage.DECODING)
        row.job.started = True
        self._count(row, 1)

    def _count(self, row: Row, change: int) -> None:
        if self._is_small(row):
            self._small_in_hand += change
        else:
            self._big_in_hand += change

    def _next(self, ended: int = 0) -> Row | None:
        """The first of both lanes that fits. One decoder is kept free of big pictures, where there are two.

        With `ended` small pictures fewer in hand: a small one, if it would be the first then.
        """
        small = self._first(self._small)
        big = self._first(self._big) if self._big_in_hand < max(1, self._workers.count - 1) else None
        for row in sorted(filter(None, (small, big)), key=self._place):
            # A small one never waits for big ones.
            in_hand = self._small_in_hand - ended + (self._big_in_hand if row is big else 0)
            if self._crowded(row, in_hand):
                continue
            if ended and row is big:
                return None
            if self._jobs.room.take(row.decoded_bytes):
                row.held = row.decoded_bytes
                (self._small if row is small else self._big)[row.job.engine].pop()
                return row
        return None

    def _crowded(self, row: Row, in_hand: int) -> bool:
        """Runs on a CPU share its cores with decoders: beside busy runners one picture at a time is enough to keep
        them fed, and a second only costs them their caches (8 % of all CPU time at saturation, two cores).
        """
        return row.job.engine.device == "cpu" and in_hand > self._runners.idle

    def _first(self, lane: dict[Engine, Queue]) -> Row | None:
        """The first row of the model whose turn it is in a lane."""
        rows = []
        for engine, queue in list(lane.items()):
            if row := self._head(queue):
                rows.append(row)
            else:
                del lane[engine]
        return min(rows, key=self._place, default=None)

    def _place(self, row: Row) -> tuple[float, float]:
        return self._shares.turn(row.job.engine), row.key

    def _head(self, queue: Queue) -> Row | None:
        """The head of a queue that can still be answered in time; those that cannot are refused before decoding."""
        while row := queue.head():
            if not self._too_late(row):
                return row
            self._jobs.drop(row)
            self._jobs.fail(row.job, too_late(row.job))
        return None

    def _too_late(self, row: Row) -> bool:
        return self._loop.time() + row.predicted_ms / 1000 > row.job.deadline

    def _decoded(
        self,
        row: Row,
        inputs: Arrays | None,
        error: BaseException | None,
        ms: float,
    ) -> None:
        self._count(row, -1)
        row.job.decode_ms += ms
        row.job.decoded_at = time.monotonic()
        row.image = None
        self._jobs.release(row)
        if inputs is None:
            self._jobs.drop(row)
            self._jobs.fail(row.job, known(error))
        elif row.job.over:
            self._jobs.drop(row)
        else:
            assert row.header is not None
            self._costs.learn_decode(row.header.format, row.header.pixels, ms)
            self._on_decoded(row, ms)
            self._on_ready(row, inputs)
        self._pump()
