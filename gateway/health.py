"""Asks every node now and then whether it can serve, and tells the fleet; what follows from it the fleet decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from gateway.backend import Backend
from gateway.config import Health
from gateway.fleet import Change, Fleet
from gateway.node_answer import Answer, Refused
from gateway.node_client import NodeClient
from gateway.node_head import field_lines, request_line
from wire.errors import DeadlineMissed, WireError
from wire.load_report import LoadReport

READY_PATH = "/v2/health/ready"
# After a lost probe the next comes sooner and waits less.
HASTE = 10
REPEAT_PATIENCE = 0.5
# A probe that is silent for this share of its patience gets a second one beside it, on a connection of its own: two are
# needed for a verdict, and one after the other they would take twice as long to tell that a node hangs.
DOUBT = 0.5
# Probes spread over the interval: a thousand nodes that joined together must not be asked together for ever.
JITTER = 0.1
# Probes under way at once: a fleet that hangs as a whole must not take every file descriptor.
MOST = 256


class _Nothing:
    """The body of a probe."""

    replayable = complete = True
    size = 0

    def __init__(self) -> None:
        self.buffered: list[bytes] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.buffered:
            yield chunk


@dataclass(slots=True, frozen=True)
class _Probe:
    """GET /v2/health/ready, which our nodes and every server of the Open Inference Protocol answer."""

    method: str = "GET"
    start: str = request_line("GET", READY_PATH)
    lines: str = field_lines([("User-Agent", "fleetgate-probe")])
    body: _Nothing = field(default_factory=_Nothing)


@dataclass(slots=True)
class _Watch:
    """One node's next probe, or the ones under way."""

    backend: Backend
    failures: int = 0
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None
    second: asyncio.Task[None] | None = None
    again: bool = False  # suspected while a probe was under way that may have been answered before

    def stop(self) -> None:
        """No more probes."""
        if self.timer is not None:
            self.timer.cancel()
        for task in self.tasks:
            task.cancel()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Of the probes under way."""
        return [task for task in (self.task, self.second) if task is not None]


class Prober:
    """Probes those it was told to `follow`, on connections of its own, until closed.

    `judged(backend, change)` is called after each verdict with what the fleet made of it.
    """

    def __init__(
        self,
        fleet: Fleet,
        client: NodeClient,
        options: Health,
        rng: Random,
        judged: Callable[[Backend, Change], None],
    ) -> None:
        """`client` is the prober's own, closed with it: a probe must not wait for, nor use up, what requests need."""
        self._fleet = fleet
        self._client = client
        self._options = options
        self._rng = rng
        self._judged = judged
        self._watches: dict[str, _Watch] = {}
        self._places = asyncio.Semaphore(MOST)
        self._probe = _Probe()

    def follow(self, joined: Iterable[Backend], left: Iterable[Backend]) -> None:
        """Probe those who joined at once, and those who left no more."""
        for backend in left:
            watch = self._watches.pop(backend.id, None)
            if watch is not None:
                watch.stop()
                self._client.pool.forget(backend.instance)
        for backend in joined:
            if backend.id not in self._watches:
                self._watches[backend.id] = watch = _Watch(backend)
                self._start(watch)

    def suspect(self, backend_id: str) -> None:
        """An attempt on this node failed: ask it now, not when it is its turn."""
        watch = self._watches.get(backend_id)
        if watch is None:
            return
        if watch.task is not None:
            watch.again = True
        elif watch.failures < self._options.probe_failures:  # otherwise the fleet knows already
            self._start(watch)

    @property
    def watched(self) -> Mapping[str, object]:
        """By id, those that are probed."""
        return self._watches

    async def close(self) -> None:
        """Stop all probes and close their connections."""
        tasks = [task for watch in self._watches.values() for task in watch.tasks]
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def _start(self, watch: _Watch) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
            watch.timer = None
        watch.task = asyncio.get_running_loop().create_task(self._ask(watch))

    async def _ask(self, watch: _Watch) -> None:
        async with self._places:
            watch.again = False
            seconds = self._options.probe_timeout * (REPEAT_PATIENCE if watch.failures else 1.0)
            doubt = asyncio.get_running_loop().call_later(seconds * DOUBT, self._start_second, watch)
            try:
                verdict = await self._verdict(watch.backend, seconds)
            finally:
                doubt.cancel()
        watch.task = None
        if verdict[0] and watch.second is not None:
            watch.second.cancel()
            watch.second = None
        self._concluded(watch, *verdict)

    def _start_second(self, watch: _Watch) -> None:
        if watch.second is None and not watch.failures:
            watch.second = asyncio.get_running_loop().create_task(self._ask_second(watch))

    async def _ask_second(self, watch: _Watch) -> None:
        verdict = await self._verdict(watch.backend, self._options.probe_timeout * (1 - DOUBT))
        watch.second = None
        if verdict[0] and watch.task is not None:
            watch.task.cancel()
            watch.task = None
        self._concluded(watch, *verdict)

    def _concluded(self, watch: _Watch, ok: bool, why: str, report: LoadReport | None) -> None:
        watch.failures = 0 if ok else watch.failures + 1
        if self._watches.get(watch.backend.id) is not watch:
            return
        if watch.timer is not None:
            watch.timer.cancel()
            watch.timer = None
        soon = watch.again or 0 < watch.failures < self._options.probe_failures
        wait = next_wait(self._options.probe_interval, soon, self._rng)
        if watch.task is None:
            watch.timer = asyncio.get_running_loop().call_later(wait, self._start, watch)
        now = time.monotonic()
        change = self._fleet.probed(watch.backend.id, ok, now, why)
        if report is not None:
            self._fleet.reported(watch.backend.id, report, now)
        self._judged(watch.backend, change)

    async def _verdict(self, backend: Backend, seconds: float) -> tuple[bool, str, LoadReport | None]:
        try:
            answer = await self._client.attempt(backend, self._probe, seconds * 1000)
        except Refused as busy:
            return True, "busy", busy.report
        except DeadlineMissed:
            return False, "no answer in time", None
        except WireError as error:
            return False, error.detail, None
        answer.discard()
        ok, why = judge(answer)
        return ok, why, answer.report


def judge(answer: Answer) -> tuple[bool, str]:
    """What a probe's answer means. 429 is Consul's word for a warning: it serves, but not well."""
    if answer.status == 429:
        return True, "degraded: it answers 429"
    if 200 <= answer.status < 300:
        return True, ""
    return False, f"it is not ready: it answers {answer.status}"


def next_wait(interval: float, soon: bool, rng: Random) -> float:
    """Seconds until the next probe."""
    spread = 1 + JITTER * (2 * rng.random() - 1)
    return interval * spread / (HASTE if soon else 1)
