"""The open loop: every request leaves at its own time, whatever became of those before it.

Times are time.monotonic: uvloop's own clock counts whole milliseconds and stands still while a callback runs.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, process_time

from loadtest.openloop.pool import Pool
from loadtest.openloop.shot import Shot

LEAD_SECONDS = 0.05  # from the call to the first moment of the schedule
SWEEP_SECONDS = 0.1  # how often what is overdue is given up


class Generator:
    """Sends the shots of one run. `shots` are drawn as they come due; their `due` counts from the start."""

    def __init__(
        self,
        shots: Iterator[Shot],
        ended: Callable[[Shot], None],
        patience: float,
        goes_on: Callable[[Shot], bool] | None = None,
    ) -> None:
        """`patience`: seconds from when a request was due until it counts as lost.

        `goes_on` is asked when a request is due; with its first no the run ends.
        """
        self.start = 0.0
        self.cpu_seconds = 0.0
        self.seconds = 0.0
        self.open = 0
        self._pool: Pool
        self._shots = shots
        self._ended = ended
        self._patience = patience
        self._goes_on = goes_on
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._stopped = False
        self._next: Shot | None = None

    async def run(self, pool: Pool, started: Callable[[float], None] | None = None) -> None:
        """Send everything and wait for every answer, each as long as patience lasts.

        `pool` must report to `ended`; `started` is told the time.monotonic that stands for 0.
        """
        self._pool = pool
        cpu, began = process_time(), monotonic()
        self.start = monotonic() + LEAD_SECONDS
        if started is not None:
            started(self.start)
        sweeper = self._loop.create_task(self._sweep())
        try:
            with _short_collector_pauses():
                self._draw()
                self._fire()
                await self._over.wait()
        finally:
            sweeper.cancel()
            self.cpu_seconds = process_time() - cpu
            self.seconds = monotonic() - began
            await pool.close()

    def stop(self) -> None:
        """Send nothing more; what is open is still waited for."""
        self._stopped = True
        self._finish_if_done()

    def ended(self, shot: Shot) -> None:
        """The pool says so."""
        self.open -= 1
        self._ended(shot)
        self._finish_if_done()

    def _fire(self) -> None:
        """Everything that is due now; then sleep until the next."""
        now = monotonic()
        while self._next is not None and self._next.due <= now and not self._stopped:
            shot = self._next
            if self._goes_on is not None and not self._goes_on(shot):
                self._next = None
                break
            shot.fired = now
            self.open += 1
            self._pool.send(shot)
            self._draw()
            now = monotonic()
        if self._next is None or self._stopped:
            self._stopped = True
            self._finish_if_done()
        else:
            self._loop.call_later(max(0.0, self._next.due - now), self._fire)

    def _draw(self) -> None:
        self._next = next(self._shots, None)
        if self._next is not None:
            self._next.due += self.start

    def _finish_if_done(self) -> None:
        if self._stopped and not self.open:
            self._over.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._pool.expire(monotonic() - self._patience)


@contextmanager
def _short_collector_pauses() -> Iterator[None]:
    """A collection of everything would delay arrivals; what is there now stays, and of the new only the youngest go."""
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(10_000, 50, 1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
