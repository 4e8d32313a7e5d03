"""Asks every node now and then whether it can serve, and tells the fleet; what follows from it the fleet decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from random import Random

from discovery.instance import Instance
from gateway.agenda import Agenda
from gateway.backend import Backend
from gateway.config import Health
from gateway.fleet import Change, Fleet
from gateway.lateness import Lateness, more_time
from gateway.node_answer import Answer, FieldRules
from gateway.node_connection import ClosedUnanswered
from gateway.node_head import field_lines, request_line
from gateway.node_pool import Pool
from gateway.probe_line import ProbeLine
from wire.errors import WireError
from wire.headers import BUDGET_MS

_log = logging.getLogger("gateway.health")
READY_PATH = "/v2/health/ready"
# After a lost probe the next comes sooner and waits less.
HASTE = 10
REPEAT_PATIENCE = 0.5
# A probe that is silent for this share of its patience gets a second one beside it, on a connection of its own: two are
# needed for a verdict, and one after the other they would take twice as long to tell that a node hangs.
DOUBT = 0.5
# Probes spread over the interval: a thousand nodes that joined together must not be asked together for ever.
JITTER = 0.1
# Connections opened at once: a fleet that joins or vanishes as a whole must not open a thousand in one moment.
MOST = 256
# So many probes in a row may tell nothing because our own loop was late: one that always is would never notice anybody.
EXCUSES = 4
# A foreign server that has answered requests within this share of the interval is not asked, but looked at again after
# that share: one that hangs under load is noticed no later than one that idles. So often in a row at most, since
# requests may go well where its readiness says no more.
FRESH, NEXT_LOOK, SPARED = 1 / 3, 0.5, 6
# Seconds: probes due within them are sent together; and between two looks at the clock while a probe is under way.
GRAIN, LOOK = 0.01, 0.025
# Loops count in milliseconds: a timer may ring this much too early, in seconds.
_EARLY = 0.001


@dataclass(slots=True, eq=False)
class _Watch:
    """One node's next probe, or those under way: at most two."""

    backend: Backend
    at: float = inf  # when `step` is to be done
    step: Callable[[_Watch, float], None] | None = None
    failures: int = 0
    patience: float = 0.0  # of the probes under way, in seconds
    lost: float = 0.0  # how late the loop had been in all when they began
    line: ProbeLine | None = None  # kept for the next one
    asked: list[ProbeLine] = field(default_factory=list)
    again: bool = False  # suspected while a probe was under way that may have been answered before
    excused: int = 0  # probes in a row of which nothing was said, since we were late ourselves
    spared: int = 0  # turns in a row at which it was not asked, since it had just answered requests


class Prober:
    """Probes those it was told to `follow`, on connections of its own, until closed.

    `judged(backend, change)` is called after each verdict with what the fleet made of it.
    """

    def __init__(
        self,
        fleet: Fleet,
        pool: Pool,
        options: Health,
        rng: Random,
        judged: Callable[[Backend, Change], None],
    ) -> None:
        """`pool` is used to connect only: a probe must not wait for, nor use up, what requests need."""
        self._fleet = fleet
        self._pool = pool
        self._options = options
        self._rng = rng
        self._judged = judged
        self._loop = asyncio.get_running_loop()
        self._rules = FieldRules()
        self._watches: dict[str, _Watch] = {}
        self._places = asyncio.Semaphore(MOST)
        self._tasks: set[asyncio.Task[None]] = set()
        self._agenda: Agenda[_Watch] = Agenda(GRAIN)
        self._lateness = Lateness(time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self._rings = inf
        self._under_way = 0  # probes

    def follow(self, joined: Iterable[Backend], left: Iterable[Backend]) -> None:
        """Probe those who joined at once, and those who left no more."""
        for backend in left:
            watch = self._watches.pop(backend.id, None)
            if watch is not None:
                self._stop(watch)
        for backend in joined:
            if backend.id not in self._watches:
                self._watches[backend.id] = watch = _Watch(backend)
                self._begin(watch, time.monotonic())

    def suspect(self, backend_id: str) -> None:
        """An attempt on this node failed: ask it now, not when it is its turn."""
        watch = self._watches.get(backend_id)
        if watch is None:
            return
        if watch.asked:
            watch.again = True
        elif watch.failures < self._options.probe_failures:  # otherwise the fleet knows already
            self._begin(watch, time.monotonic())

    @property
    def watched(self) -> Mapping[str, object]:
        """By id, those that are probed."""
        return self._watches

    async def close(self) -> None:
        """Stop all probes and close their connections."""
        if self._timer is not None:
            self._timer.cancel()
        for watch in self._watches.values():
            self._stop(watch)
        self._watches.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stop(self, watch: _Watch) -> None:
        watch.at = inf
        self._hang_up(watch)
        if watch.line is not None:
            watch.line.close()

    def _hang_up(self, watch: _Watch) -> int:
        """End the probes under way; how many there were."""
        asked, watch.asked = watch.asked, []
        for line in asked:
            line.close()
        self._under_way -= len(asked)
        return len(asked)

    # ---- one probe after another -----------------------------------------------------------------------------------

    def _turn(self, watch: _Watch, now: float) -> None:
        if watch.spared < SPARED and vouched_for(watch.backend, now, self._options.probe_interval):
            watch.spared += 1
            self._fleet.spared(watch.backend.id, now)
            self._put(watch, now + self._options.probe_interval * NEXT_LOOK, self._turn)
        else:
            self._begin(watch, now)

    def _begin(self, watch: _Watch, now: float) -> None:
        watch.at, watch.again, watch.spared = inf, False, 0
        watch.patience = self._options.probe_timeout * (REPEAT_PATIENCE if watch.failures else 1.0)
        line, watch.line = watch.line, None
        if line is not None and line.open and line.instance is watch.backend.instance:
            watch.asked.append(line)
            self._under_way += 1
            self._wait(watch, now)
            line.ask()
            return
        if line is not None:
            line.close()
        self._dial(watch, self._wait)

    def _wait(self, watch: _Watch, now: float) -> None:
        """For the first probe, and for a repeated one, which gets no second beside it."""
        watch.lost = self._lateness.lost(now)
        if watch.failures:
            self._put(watch, now + watch.patience, self._over)
        else:
            self._put(watch, now + watch.patience * DOUBT, self._doubt)
        if self._rings > now + LOOK:
            self._set_timer(now)

    def _doubt(self, watch: _Watch, now: float) -> None:
        self._put(watch, now + watch.patience * (1 - DOUBT), self._over)
        self._dial(watch, None)

    def _over(self, watch: _Watch, now: float) -> None:
        """Time is up: for the node, unless it is us who were late."""
        more = more_time(watch.patience, self._lateness.lost(now) - watch.lost)
        if more:
            watch.lost += more
            self._put(watch, now + more, self._over)
            return
        hung = self._hang_up(watch)
        if more is None and watch.excused < EXCUSES:
            watch.excused += 1
            self._begin(watch, now)
            return
        for _ in range(hung):
            self._concluded(watch, False, "no answer in time")

    def _dial(self, watch: _Watch, begun: Callable[[_Watch, float], None] | None) -> None:
        """Ask on a new connection. `begun` is told when there is a place for it; it judges what takes too long."""
        line = ProbeLine(watch.backend.instance, self._rules, partial(self._heard, watch))
        watch.asked.append(line)
        self._under_way += 1
        line.task = task = self._loop.create_task(self._connect(watch, line, begun))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, watch: _Watch, line: ProbeLine, begun: Callable[[_Watch, float], None] | None) -> None:
        async with self._places:
            if begun is not None:
                begun(watch, time.monotonic())
            try:
                line.head = _head(line.instance, self._options.probe_timeout)
                await self._pool.dial(line, line.instance, 2 * self._options.probe_timeout)
            except WireError as error:
                line.task = None
                self._heard(watch, line, error)
                return
        line.task = None
        line.ask()

    def _heard(self, watch: _Watch, line: ProbeLine, result: Answer | WireError) -> None:
        """An answer, or the end of a connection. What comes after the verdict is no news."""
        if line not in watch.asked:
            return
        watch.asked.remove(line)
        self._under_way -= 1
        if line.used and isinstance(result, ClosedUnanswered):  # while it was idle: a new one tells whether it is there
            self._dial(watch, None)
            return
        ok, why = judge(result)
        if ok:
            self._hang_up(watch)
        if line.open:
            if watch.line is not None:
                watch.line.close()
            watch.line = line
        self._concluded(watch, ok, why, result)

    def _concluded(self, watch: _Watch, ok: bool, why: str, result: Answer | WireError | None = None) -> None:
        backend, options, now = watch.backend, self._options, time.monotonic()
        first = watch.failures == 0 and backend.standing.probed is None
        watch.failures = 0 if ok else watch.failures + 1
        watch.excused = 0
        if self._watches.get(backend.id) is not watch:
            return
        if not watch.asked:
            soon = watch.again or 0 < watch.failures < options.probe_failures
            wait = next_wait(options.probe_interval, soon, self._rng)
            if first and ok:  # nodes that joined together part at once
                wait *= self._rng.random()
            self._put(watch, now + wait, self._turn)
        change = self._fleet.probed(backend.id, ok, now, why)
        if isinstance(result, Answer) and result.report is not None:
            self._fleet.reported(backend.id, result.report, now)
        self._judged(backend, change)

    # ---- one timer for all -----------------------------------------------------------------------------------------

    def _put(self, watch: _Watch, at: float, step: Callable[[_Watch, float], None]) -> None:
        watch.step = step
        self._agenda.put(watch, at)
        if watch.at < self._rings:
            self._set_timer(time.monotonic())

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = min(self._agenda.next, now + LOOK) if self._under_way else self._agenda.next
        self._lateness.expect(now, self._rings)
        if self._rings < inf:
            self._timer = self._loop.call_later(max(0.0, self._rings - now), self._ring)

    def _ring(self) -> None:
        self._timer, self._rings = None, -inf
        now = time.monotonic()
        for watch in self._agenda.due(now + _EARLY):
            assert watch.step is not None
            try:
                watch.step(watch, now)
            except Exception:  # a mistake about one node must not end the probing of all
                _log.exception("probe failed", extra={"fields": {"node": watch.backend.id}})
                if watch.at == inf and self._watches.get(watch.backend.id) is watch:
                    self._hang_up(watch)
                    self._put(watch, now + self._options.probe_interval, self._turn)
        self._set_timer(time.monotonic())


def _head(instance: Instance, patience: float) -> bytes:
    """GET /v2/health/ready, which our nodes and every server of the Open Inference Protocol answer.

    Raises BadRequest for an address that is none.
    """
    patience_ms = str(max(1, int(patience * 1000)))
    fields = [("Host", instance.address), (BUDGET_MS, patience_ms), ("User-Agent", "fleetgate-probe")]
    return f"{request_line('GET', READY_PATH)}{field_lines(fields)}\r\n".encode()


def judge(result: Answer | WireError) -> tuple[bool, str]:
    """What a probe's answer means. 429 is Consul's word for a warning: it serves, but not well."""
    if isinstance(result, WireError):
        return False, result.detail
    if result.refused:
        return True, "busy"
    if result.status == 429:
        return True, "degraded: it answers 429"
    if 200 <= result.status < 300:
        return True, ""
    return False, f"it is not ready: it answers {result.status}"


def vouched_for(backend: Backend, now: float, interval: float) -> bool:
    """Whether a node's answers to requests tell that it is there.

    Never for a node of ours (it has a stream): that it is about to leave, only its readiness says.
    """
    standing = backend.standing
    sound = standing.probed is True and not standing.probe_failures and not standing.failures
    return sound and not backend.gateways and backend.answers > 0 and now - backend.last_answer < FRESH * interval


def next_wait(interval: float, soon: bool, rng: Random) -> float:
    """Seconds until the next probe."""
    spread = 1 + JITTER * (2 * rng.random() - 1)
    return interval * spread / (HASTE if soon else 1)
