"""One model version on this node: its warm session, whether it is sound, and how it is rebuilt when it is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from math import prod
from pathlib import Path
from time import monotonic, perf_counter
from typing import Protocol

import numpy as np

from node.batch_run import Item, Ran, run_batch
from node.crew import Crew
from node.tensors import dtype_of
from node.work import Array, Arrays, Bucket
from node.workers import Workers
from repository.manifest import Manifest, Preprocessing, TensorSpec, read_labels

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0
_MOST_HANGS = 3  # in a row: each leaves a thread and a session's memory behind


class Runs(Protocol):
    """A warm session, as node/session.py has it."""

    @property
    def buckets(self) -> Sequence[int]:
        """Batch sizes that it is warm for; empty: the graph has no batch."""
        ...

    @property
    def device(self) -> str:
        """cpu or gpu."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """Blocking and thread-safe. Raises BadRequest or ModelFailed."""
        ...

    def probe(self) -> None:
        """Run one harmless row. Raises when not even that goes."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Open(Protocol):
    """Makes a warm session of an artefact; blocks for seconds. `gently`: requests are being served meanwhile."""

    def __call__(self, artefact: Path, /, *, gently: bool) -> Runs:
        """Raises ArtefactError, or whatever the session raised while it was warmed."""
        ...


class NoSession(Exception):
    """A run came too late for a session that was left, or too early for the next."""


class State(StrEnum):
    """Of an engine."""

    LOADING = "loading"
    READY = "ready"
    SICK = "sick"
    CLOSED = "closed"


class Engine:
    """A session and the loop that keeps it sound. Used from the event loop, except `answer` and `probe`."""

    def __init__(self, artefact: Path, manifest: Manifest, open_session: Open, loader: Workers, pause: float) -> None:
        self.artefact = artefact
        self.manifest = manifest
        self.labels = read_labels(artefact, manifest)
        self.state = State.LOADING
        self.why = "the model is being loaded"
        self.since = monotonic()
        self.buckets: Sequence[int] = ()
        self.device = ""
        self.run_ms: dict[int, float] = {}  # by batch size, measured once warm
        self.hangs = 0  # sessions, or workers of one, lost to a hang since the last batch that went well
        self.session = 0  # which one it is, counted from 1
        self._open_session = open_session
        self._loader = loader
        self._pause = pause
        self._session: Runs | None = None
        self._open_seconds = 0.0
        self._then: Callable[[bool], None] | None = None
        self._sick = asyncio.Event()
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    def __repr__(self) -> str:
        return f"<Engine {self.title} {self.state}>"

    @property
    def title(self) -> str:
        """name@version."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def hopeless(self) -> bool:
        """Hung again and again: only a new process can help."""
        return self.hangs >= _MOST_HANGS

    @property
    def rebuild_seconds(self) -> float:
        """How long rebuilding will take, if it goes at once."""
        return self._pause + self._open_seconds

    @property
    def batched(self) -> bool:
        """Whether rows are joined along a first axis; else every run is one row as it is."""
        return bool(self.manifest.batch_buckets)

    def bucket(self, shapes: Mapping[str, tuple[int, ...]]) -> Bucket:
        """Which rows can be batched: those of equal `shapes`, by input name."""
        return self, tuple(shapes[spec.name] for spec in self.manifest.inputs)

    def row_bytes(self, bucket: Bucket) -> int:
        """Of the inputs of one row."""
        specs = zip(self.manifest.inputs, bucket[1], strict=True)
        return sum(prod(shape) * dtype_of(spec).itemsize for spec, shape in specs)

    @property
    def usual_bucket(self) -> Bucket | None:
        """That of the shape that is served, when there is one."""
        example = _example(self.manifest, 1)
        return self.bucket({name: array.shape[1:] for name, array in example.items()}) if example else None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """For as long as a request means it, from the moment it was found."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def unused(self) -> None:
        """Wait until no request means it."""
        await self._unused.wait()

    async def open(self, *, gently: bool = False, seconds: float | None = None) -> None:
        """Load and warm the session. Raises what loading raised, or TimeoutError; the engine is then still loading.

        `gently`, beside requests that are being served, nothing is measured: it would tell of them.
        """
        start = monotonic()
        session, self.run_ms = await self._loader.call(partial(self._open_and_measure, gently), seconds)
        self._open_seconds = monotonic() - start
        self.session += 1
        self._session, self.buckets, self.device = session, session.buckets, session.device
        self._sick.clear()
        self._become(State.READY, "")
        self._tell(True)

    async def keep(self) -> None:
        """Rebuild the session whenever it falls sick. Runs until cancelled, or hopeless."""
        while True:
            await self._sick.wait()
            if self.hopeless:
                self.why += f"; given up after {self.hangs} hung sessions: restart this node"
                self._tell(False)
                return
            pause = self._pause
            while self.state is not State.READY:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                try:
                    await self.open()
                except Exception as error:
                    # Whatever it is, the next try may go well, and until then the node says that it is unhealthy.
                    log.exception("session cannot be rebuilt", extra={"model": self.title})
                    self.why = f"the session could not be rebuilt: {error}"
                    self._tell(False)

    @property
    def decodes(self) -> bool:
        """Whether it takes small images as they are."""
        return isinstance(self._session, Crew)

    def answer(self, items: Sequence[Item]) -> Ran:
        """One batch; images only where it decodes. Blocking. Raises what the session raises."""
        session = self._present()
        if isinstance(session, Crew):
            return session.answer(items)
        return run_batch(session.run, None, self.manifest, items)

    def probe(self) -> None:
        """Run one harmless row: what fails now fails for everybody. Blocking."""
        self._present().probe()

    def went_well(self, session: int) -> None:
        """A batch was answered by a session, perhaps by one that was left meanwhile."""
        if session == self.session and self.state is State.READY:
            self.hangs = 0

    def fell_sick(self, why: str, *, hung: bool, then: Callable[[bool], None]) -> None:
        """The session, which is there, hangs or fails on everything: leave it and build another.

        `then` is told once whether that went well at the first try.
        """
        self.hangs += hung
        self._then = then
        log.error("session is sick", extra={"model": self.title, "why": why})
        self._become(State.SICK, why)
        if isinstance(self._session, Crew):
            self._session.close()  # at once, whatever hangs
        self._session = None  # else not closed: whatever hangs in it would hang its closing
        self._sick.set()

    async def close(self, why: str = "the node is leaving") -> None:
        """Release the session."""
        session, self._session = self._session, None
        self._become(State.CLOSED, why)
        self._tell(False)
        if session is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._loader.call(session.close)

    def _tell(self, well: bool) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(well)

    def _become(self, state: State, why: str) -> None:
        self.state, self.why, self.since = state, why, monotonic()

    def _present(self) -> Runs:
        if self._session is None:
            raise NoSession(f"{self.title} has no session")
        return self._session

    def _open_and_measure(self, gently: bool) -> tuple[Runs, dict[int, float]]:
        session = self._open_session(self.artefact, gently=gently)
        if gently:
            return session, {}
        examples = {size: _example(self.manifest, size) for size in session.buckets}
        return session, {size: _best_of(session, inputs) for size, inputs in examples.items() if inputs}


def _example(manifest: Manifest, rows: int) -> Arrays:
    """Zeros in the shape that will be served; nothing when that is open, or when they are no numbers."""
    arrays: dict[str, Array] = {}
    for spec in manifest.inputs:
        sides = [side for side in _served(spec, manifest.preprocessing) if side is not None]
        if len(sides) != len(spec.shape) - 1 or spec.dtype == "string":
            return {}
        arrays[spec.name] = np.zeros((rows, *sides), dtype_of(spec))
    return arrays


def _served(spec: TensorSpec, steps: Preprocessing | None) -> tuple[int | None, ...]:
    """The shape of one row."""
    if steps is None or steps.input != spec.name:
        return spec.shape[1:]
    return (steps.height, steps.width, 3) if steps.layout == "NHWC" else (3, steps.height, steps.width)


def _best_of(session: Runs, inputs: Arrays) -> float:
    """Milliseconds of a warm batch: the better of two, as a neighbour's noise only adds."""
    times = []
    for _ in range(2):
        start = perf_counter()
        session.run(inputs)
        times.append((perf_counter() - start) * 1000)
    return min(times)
