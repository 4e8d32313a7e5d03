"""Threads for blocking work beside the event loop. Daemons, unlike the standard library's: a hung run in one of
them must not keep the process from leaving, and its place can be given to a fresh thread.

A thread that has finished goes on at once with what was handed to it early: on busy cores the event loop comes round
to it only a millisecond later. What was handed can be taken back until that very moment.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

T = TypeVar("T")
Done = Callable[[Any, BaseException | None, float], None]


class _First:
    """Decides between the event loop and a thread: `won` is true once, for whoever asks first."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def won(self) -> bool:
        return self._lock.acquire(blocking=False)


@dataclass(slots=True, eq=False)
class Task:
    """One piece of work. `done(result, error, ms)` is called on the event loop, unless the task was abandoned."""

    work: Callable[[], Any]
    done: Done
    begun: Callable[[], None] | None = None  # of one handed early: called on the event loop
    start: _First = field(default_factory=_First)
    end: _First = field(default_factory=_First)


class Workers:
    """A fixed number of threads; `idle` of them have nothing to do. Used from the event loop only."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = self.idle = count
        self._loop = asyncio.get_running_loop()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._handed: Task | None = None
        for _ in range(count):
            self._start()

    def submit(self, work: Callable[[], Any], done: Done) -> Task:
        """Have `work` done by the next free thread."""
        task = Task(work, done)
        self.idle -= 1
        self._tasks.put(task)
        return task

    def hand(self, work: Callable[[], Any], done: Done, begun: Callable[[], None]) -> Task:
        """Have `work` done by the busy thread that is free first. There is one such task at a time."""
        assert self._handed is None
        task = self._handed = Task(work, done, begun)
        return task

    def take_back(self) -> bool:
        """What was handed has not begun, and will not. Otherwise its `begun` has been called when this returns."""
        task, self._handed = self._handed, None
        if task is None:
            return False
        if task.start.won():
            return True
        self._go_on(task)
        return False

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

    def abandon(self, task: Task) -> bool:
        """Give up on a task that hangs: its thread is written off and a fresh one takes its place.

        False when it has just ended: `done` will be called.
        """
        if not task.end.won():
            return False
        self.idle += 1
        self._start()
        return True

    def close(self) -> None:
        """Let idle threads end; nobody waits for the others."""
        for _ in range(self.count):
            self._tasks.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._serve, name=self.name, daemon=True).start()

    def _serve(self) -> None:
        following: Task | None = None
        while task := following or self._tasks.get():
            result, error = None, None
            start = perf_counter()
            try:
                result = task.work()
            except BaseException as caught:  # carried to the event loop, whatever it is
                error = caught
            ms = (perf_counter() - start) * 1000
            if not task.end.won():
                return
            following = self._handed
            if following is not None and not following.start.won():
                following = None
            with suppress(RuntimeError):  # the event loop is closed: the process is leaving
                self._loop.call_soon_threadsafe(self._finish, task, following, result, error, ms)
            del task, result, error

    def _finish(self, task: Task, following: Task | None, result: Any, error: BaseException | None, ms: float) -> None:
        """`task` is done, and its thread went on with `following`."""
        if following is None:
            self.idle += 1
        elif following is self._handed:
            self._handed = None
            self._go_on(following)
        task.done(result, error, ms)

    def _go_on(self, task: Task) -> None:
        assert task.begun is not None
        task.begun()
