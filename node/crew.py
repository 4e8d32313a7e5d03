"""A warm session in worker processes, one for each batch in progress: what `node.session` is for threads.

Processes share no interpreter, no allocator and no cache lines, which on two cores is 5 to 20 % of all work
(docs/decisions/0015), and one that crashes or hangs is replaced alone: its session is gone, the others serve on.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from queue import SimpleQueue
from time import monotonic, perf_counter
from typing import Any

from node import carrying
from node.batch_run import Image, Item, Ran
from node.member import Order, Warm, main
from node.work import Array, Arrays

log = logging.getLogger(__name__)

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["node.nursery"])
_START_TRIES = 2
_START_SECONDS = 60.0  # of a replacement; importing TensorFlow anew is 5 of them


class Lost(Exception):
    """A worker process ended in the middle of a batch."""


class Hung(Exception):
    """A worker process did not answer in time, and was ended."""


class Unreplaced(Exception):
    """No worker process could be started in the place of one that was lost."""


class _Worker:
    """One worker process, as the node sees it."""

    def __init__(self, order: Order, hang_seconds: float) -> None:
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=main, args=(theirs, order), name=f"worker of {order.artefact.parent.name}", daemon=True
        )
        self._process.start()
        theirs.close()
        _stalls_after(self._connection, hang_seconds)

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Of one that was asked nothing: whether it is gone."""
        return self._connection.poll(0)

    def warm(self, progress: Callable[[str], None], seconds: float) -> Warm:
        """Wait until it is. Raises what loading raised, Lost or Hung."""
        end = monotonic() + seconds
        while True:
            told = self._receive(max(0.0, end - monotonic()))
            if isinstance(told, Warm):
                return told
            if isinstance(told, BaseException):
                raise told
            progress(told)

    def ask(self, question: object, seconds: float) -> Any:
        """Its answer, or what it raised. Raises Lost or Hung; after anything raised here it must not be asked again."""
        try:
            carrying.send(self._connection, question)
        except OSError:
            raise self._lost() from None
        return self._receive(seconds)

    def end(self) -> None:
        """At once: it holds nothing that would have to be saved."""
        if self._process.is_alive():  # else its number may be another's
            self._process.kill()  # whoever waits for its answer hears of it; the connection goes when nobody does

    def _receive(self, seconds: float) -> Any:
        try:
            if not self._connection.poll(seconds):
                raise Hung(f"a worker process has not answered after {seconds:g} s")
            return carrying.receive(self._connection)
        except (EOFError, OSError):
            raise self._lost() from None

    def _lost(self) -> Lost:
        self._process.join(1.0)
        return Lost(f"a worker process ended ({self._process.exitcode})")


class Crew:
    """See the module. Thread-safe; as many callers at once as there are workers."""

    def __init__(
        self, order: Order, size: int, load_seconds: float, hang_seconds: float, lost: Callable[[], None]
    ) -> None:
        """Blocks until all are warm. `lost` is told of each worker that ends or hangs.

        Raises what loading raised, Lost, or Hung when it takes longer than `load_seconds`.
        """
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the fork server starts: it imports TensorFlow
        self._order = order
        self._hang_seconds = hang_seconds
        self._tell_lost = lost
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        self._all: set[_Worker] = set()
        # At exit, too, and before multiprocessing would wait for those that are left: they do not heed its SIGTERM.
        self._end = Finalize(self, _end_all, args=(self._all,), exitpriority=1)
        try:
            workers = [self._started(order) for _ in range(size)]
            warm = [worker.warm(log.info if worker is workers[0] else log.debug, load_seconds) for worker in workers]
        except BaseException:
            self._end()
            raise
        self.buckets: Sequence[int] = warm[0].buckets
        self.device = warm[0].device
        for worker in workers:
            self._idle.put(worker)

    @property
    def pids(self) -> list[int]:
        """Of the workers that are there."""
        return [pid for worker in list(self._all) if (pid := worker.pid) is not None]

    def answer(self, items: Sequence[Item]) -> Ran:
        """One batch. Raises what the session raises, Lost, Hung or Unreplaced."""
        ran: Ran
        start, ran = self._ask([_packed(item) for item in items])
        if not ran.run_ms:
            return ran
        # The way there and back is part of what a batch takes: what is saved by joining rows is judged by it.
        return replace(ran, run_ms=(perf_counter() - start) * 1000 - sum(ran.decode_ms))

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """See `node.session.Session`."""
        outputs: Arrays = self._ask(dict(inputs))[1]
        return outputs

    def probe(self) -> None:
        """See `node.session.Session`."""
        self._ask(None)

    def close(self) -> None:
        """End all of them, whatever they are doing."""
        self._end()

    def _ask(self, question: object) -> tuple[float, Any]:
        """When it was sent, and the answer."""
        worker = self._idle.get()
        if worker is not None and worker.ended:
            self._discard(worker, Lost("a worker process ended while it was idle"))
            worker = None
        if worker is None:
            worker = self._replaced()
        start = perf_counter()
        try:
            answer = worker.ask(question, self._hang_seconds)
        except BaseException as error:  # whatever it is, something of this answer may still be on its way
            self._discard(worker, error)
            self._idle.put(None)
            raise
        self._idle.put(worker)
        if isinstance(answer, BaseException):
            raise answer
        return start, answer

    def _replaced(self) -> _Worker:
        why: Exception | None = None
        for _ in range(_START_TRIES):
            try:
                return self._rewarmed()
            except Exception as error:  # whatever it is, the next try may go well
                why = error
        self._idle.put(None)
        raise Unreplaced(f"a worker process cannot be replaced: {why}") from why

    def _rewarmed(self) -> _Worker:
        worker = self._started(replace(self._order, gently=False))  # somebody waits for it
        try:
            worker.warm(log.debug, _START_SECONDS)
        except Exception as error:
            self._discard(worker, error)
            raise
        return worker

    def _started(self, order: Order) -> _Worker:
        worker = _Worker(order, self._hang_seconds)
        self._all.add(worker)
        if not self._end.still_active():  # closed meanwhile
            worker.end()
        return worker

    def _discard(self, worker: _Worker, why: BaseException) -> None:
        self._all.discard(worker)
        worker.end()
        if self._end.still_active():
            log.error("a worker process is gone", extra={"pid": worker.pid, "why": str(why)})
            self._tell_lost()


def _stalls_after(connection: Connection, seconds: float) -> None:
    """A message that stops on its way, here or there, is an OSError after so long."""
    whole = int(seconds)
    limit = struct.pack("ll", whole, int((seconds - whole) * 1e6))
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def _packed(item: Item) -> Item:
    return Image(carrying.beside(item.data), item.header, item.others) if isinstance(item, Image) else item


def _end_all(workers: set[_Worker]) -> None:
    for worker in list(workers):
        worker.end()
    workers.clear()
