"""Images on their way to becoming rows: which one a free decoder takes, within the bytes that may be held."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from node.costs import Costs
from node.jobs import Jobs, too_late
from node.queue import Queue
from node.work import Arrays, Row, Stage
from node.workers import Workers
from wire.errors import ModelFailed, TooLarge, WireError

log = logging.getLogger(__name__)


class Decoding:
    """The first half of a row's way. `on_ready` takes it on; `decode` runs on a thread."""

    def __init__(
        self,
        jobs: Jobs,
        workers: Workers,
        costs: Costs,
        decode: Callable[[Row], Arrays],
        on_ready: Callable[[Row, Arrays], None],
        on_decoded: Callable[[Row, float], None],
    ) -> None:
        self._jobs = jobs
        self._workers = workers
        self._costs = costs
        self._decode = decode
        self._on_ready = on_ready
        self._on_decoded = on_decoded
        self._loop = asyncio.get_running_loop()
        self._small, self._big = Queue(Stage.WAITING), Queue(Stage.WAITING)
        self._big_in_hand = 0

    def push(self, row: Row) -> None:
        """Put a row in its lane. Raises TooLarge when it would not fit into an empty node."""
        room = self._jobs.room
        if not room.ever_fits(row.decoded_bytes):
            raise TooLarge(
                f"decoding this image takes {row.decoded_bytes} bytes; this node may hold {room.big}",
                limit_bytes=room.big,
            )
        (self._small if room.is_small(row.decoded_bytes) else self._big).push(row)

    def start(self, done: Callable[[], None]) -> None:
        """Give idle decoders work; `done` is called after each."""
        while self._workers.idle > 0 and (row := self._next()):
            self._jobs.move(row, Stage.DECODING)
            row.job.started = True
            big = not self._jobs.room.is_small(row.decoded_bytes)
            self._big_in_hand += big
            self._workers.submit(partial(self._decode, row), partial(self._decoded, row, big, done))

    def _next(self) -> Row | None:
        """The first of both lanes that fits. One decoder is kept free of big pictures, where there are two."""
        small = self._head(self._small)
        big = self._head(self._big) if self._big_in_hand < max(1, self._workers.count - 1) else None
        for row in sorted(filter(None, (small, big)), key=lambda row: row.key):
            if self._jobs.room.take(row.decoded_bytes):
                row.held = row.decoded_bytes
                (self._small if row is small else self._big).pop()
                return row
        return None

    def _head(self, lane: Queue) -> Row | None:
        """The head of a lane that can still be answered in time; those that cannot are refused before decoding."""
        while row := lane.head():
            if self._loop.time() + row.predicted_ms / 1000 <= row.job.deadline:
                return row
            self._jobs.drop(row)
            self._jobs.fail(row.job, too_late(row.job))
        return None

    def _decoded(
        self,
        row: Row,
        big: bool,
        done: Callable[[], None],
        inputs: Arrays | None,
        error: BaseException | None,
        ms: float,
    ) -> None:
        self._big_in_hand -= big
        row.job.decode_ms += ms
        row.job.decoded_at = time.monotonic()
        row.image = None
        self._jobs.release(row)
        if inputs is None:
            self._jobs.drop(row)
            self._jobs.fail(row.job, _known(error))
        elif row.job.over:
            self._jobs.drop(row)
        else:
            assert row.header is not None
            self._costs.learn_decode(row.header.format, row.header.pixels, ms)
            self._on_decoded(row, ms)
            self._on_ready(row, inputs)
        done()


def _known(error: BaseException | None) -> WireError:
    if isinstance(error, WireError):
        return error
    log.error("preparing an image broke", exc_info=error)
    return ModelFailed("the image could not be prepared")
