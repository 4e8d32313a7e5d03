"""Threads for blocking work beside the event loop. Daemons, unlike the standard library's: a hung run in one of
them must not keep the process from leaving, and its place can be given to a fresh thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Task:
    """One piece of work. `done(result, error, ms)` is called on the event loop, unless the task was abandoned."""

    work: Callable[[], Any]
    done: Callable[[Any, BaseException | None, float], None]
    abandoned: bool = False


class Workers:
    """A fixed number of threads; `idle` of them have nothing to do. Used from the event loop only."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = self.idle = count
        self._loop = asyncio.get_running_loop()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        for _ in range(count):
            self._start()

    def submit(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None, float], None]) -> Task:
        """Have `work` done by the next free thread."""
        task = Task(work, done)
        self.idle -= 1
        self._tasks.put(task)
        return task

    async def call(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """Have `work` done and wait for it; its own exceptions come through.

        After `seconds` it is abandoned: raises TimeoutError.
        """
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: Any, error: BaseException | None, _ms: float) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        task = self.submit(work, done)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            if future.cancelled():
                self.abandon(task)
            raise

    def abandon(self, task: Task) -> None:
        """Give up on a task that hangs: its thread is written off and a fresh one takes its place."""
        task.abandoned = True
        self.idle += 1
        self._start()

    def close(self) -> None:
        """Let idle threads end; nobody waits for the others."""
        for _ in range(self.count):
            self._tasks.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._serve, name=self.name, daemon=True).start()

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            result, error = None, None
            start = perf_counter()
            try:
                result = task.work()
            except BaseException as caught:  # carried to the event loop, whatever it is
                error = caught
            ms = (perf_counter() - start) * 1000
            with suppress(RuntimeError):  # the event loop is closed: the process is leaving
                self._loop.call_soon_threadsafe(self._finish, task, result, error, ms)
            if task.abandoned:
                return
            del task, result, error

    def _finish(self, task: Task, result: Any, error: BaseException | None, ms: float) -> None:
        if task.abandoned:
            return
        self.idle += 1
        task.done(result, error, ms)
