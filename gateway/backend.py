"""The gateway's live view of one node: what it holds, how fast it really is, and when it will be free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from discovery.instance import Instance
from gateway.config import Health
from gateway.standing import NEVER, Standing

if TYPE_CHECKING:
    from gateway.lease import Lease
    from gateway.peers import Entry, Peers
    from wire.load_report import LoadReport

SPEED_ALPHA = 0.1  # ROUTING 4.2: EWMA of the node's own service times
SPEED_RANGE = 10.0  # a learned speed stays within this factor of the announced one
SPEED_STEP = 4.0  # and one answer may not claim more than this factor of change
LAG_ALPHA = 0.2
LAG_DEAD = 0.025  # seconds of overhead that are ordinary: connect, transfer, a batch forming
LAG_MAX = 10.0
LAG_FAILURE = 0.05  # doubled per consecutive failure: a node failing fast must not look fast
TRANSFER = 50e6  # bytes a second a body is expected to travel at
STREAMED = 16 << 20  # bytes above which a body may come as slowly as its client sends it
RATE_WINDOW = 30.0  # seconds over which a node's share of traffic is told
ERROR_ALPHA = 0.05
CAPACITY_MAX = 1024
COUNT_MAX = 1_000_000  # requests a node may say it has
LINE_WAIT = 1.0  # seconds for the stream's line after a refusal; without one the refusal had another reason
FOREIGN_FRESH = 3.0  # seconds a node's report about others' requests is believed


class Backend:
    """One node as we know it. Times are seconds, costs milliseconds at speed 1."""

    __slots__ = (
        "answers", "capacity", "counted_heavy", "counted_ms", "counted_power", "counted_step", "entry", "error_share",
        "errors", "foreign", "foreign_at", "foreign_heavy", "foreign_ms", "foreign_until", "gateways", "heavy_held",
        "id", "in_flight", "instance", "joined", "lag", "lag_learned", "last_answer", "left_ms", "max_pixels",
        "moved", "next_ms", "nominal", "others", "peak", "peers", "per_ms", "pool", "prefetch_from", "rate",
        "rate_at", "rate_before", "reported_queue", "requests", "running", "serial", "service_ms", "shelf", "speed",
        "standing", "step", "step_from", "step_to", "turn", "usable", "waiting", "weight", "work_ms",
    )  # fmt: skip

    def __init__(self, instance: Instance, health: Health, now: float, serial: int) -> None:
        self.id = instance.id
        self.serial = serial
        self.joined = now
        self.standing = Standing(health, now)
        self.usable = False  # has a place in the index
        self.weight = 1.0
        self.nominal = 0.0
        self.speed = 1.0
        self.step = 0
        self.step_from = self.step_to = 0.0  # the paces of this step
        # what it holds
        self.running: list[Lease] = []  # in the node's slots, as far as we can see
        self.waiting: list[Lease] = []  # sent ahead, behind those
        self.in_flight = 0
        self.heavy_held = 0  # how many of them are heavy work
        self.work_ms = 0.0
        self.left_ms = 0.0  # the same, running ones counted by half
        self.peak = 0  # most in flight since the last report
        # what it does for others
        self.gateways = 0  # that it serves, us included, as it says on its stream; 0: it has no stream
        self.others: list[float] = []  # when each of their requests should be done, as it says there
        self.foreign = 0
        self.foreign_heavy = 0
        self.moved = NEVER  # when a slot was last taken or freed, by whomever
        self.foreign_ms = 0.0  # cost of theirs not yet done
        self.foreign_at = 0.0
        self.foreign_until = NEVER
        self.reported_queue = 0
        # what it showed
        self.lag = 0.0  # seconds lost beyond service time, above the ordinary
        self.lag_learned = 0.0
        self.service_ms = 0.0
        self.error_share = 0.0
        self.requests = self.answers = self.errors = 0
        self.rate = self.rate_before = 0
        self.rate_at = now
        self.last_answer = now
        self.prefetch_from = now
        self.turn = 0.0  # round robin's virtual time
        # its place in the index
        self.peers: Peers | None = None
        self.shelf: list[Entry] | None = None
        self.entry: Entry | None = None
        self.counted_step = self.counted_heavy = 0
        self.counted_ms = self.counted_power = 0.0
        self.adopt(instance)

    def __repr__(self) -> str:
        return f"<Backend {self.id} {self.standing.state} {self.in_flight}/{self.capacity}>"

    def adopt(self, instance: Instance) -> None:
        """Take the announced facts, as far as they are possible; learned speed survives unless the claim changed."""
        self.instance = instance
        self.pool = instance.pool
        self.capacity = min(CAPACITY_MAX, max(1, instance.capacity))
        self.max_pixels = max(0, instance.max_pixels)
        said = instance.speed
        nominal = min(1e3, max(1e-3, said)) if math.isfinite(said) and said > 0 else 1.0
        if nominal != self.nominal:
            self.nominal = nominal
            self._set_speed(nominal)

    # ---- what it holds ---------------------------------------------------------------------------------------------

    def claim(self, lease: Lease, now: float) -> None:
        """Count a lease in. The caller has checked that there is room."""
        if len(self.running) + len(self.others) < self.capacity:
            self._begin(lease, now)
        else:
            lease.ends = max(now, lease.starts) + lease.ticket.cost_ms * self.per_ms
            self.waiting.append(lease)
            self.left_ms += lease.ticket.cost_ms
        self.in_flight += 1
        self.heavy_held += lease.ticket.heavy
        if self.capacity > 1:
            self._crowd()
        self.peak = max(self.peak, self.in_flight)
        self.work_ms += lease.ticket.cost_ms
        self.requests += 1
        if not 0.0 <= now - self.rate_at < RATE_WINDOW:
            self._turn_rate(now)
        self.rate += 1

    def release(self, lease: Lease, now: float) -> None:
        """Count a lease out; the next one that was sent ahead begins."""
        cost = lease.ticket.cost_ms
        self.moved = now
        self.in_flight -= 1
        self.heavy_held -= lease.ticket.heavy
        if self.capacity > 1:
            self._crowd()
        self.work_ms -= cost
        running = self.running
        if lease in running:
            running.remove(lease)
            self.left_ms -= 0.5 * cost
            self._move_up(now)
        else:
            self.waiting.remove(lease)
            self.left_ms -= cost
        if not self.in_flight:
            self.work_ms, self.left_ms = 0.0, self.foreign_ms  # sums of floats drift; an empty node has no work

    def _move_up(self, now: float) -> None:
        """Whoever was sent ahead begins when a slot is free."""
        while self.waiting and len(self.running) + len(self.others) < self.capacity:
            head = self.waiting.pop(0)
            self.left_ms -= head.ticket.cost_ms
            self._begin(head, now)

    def _begin(self, lease: Lease, now: float) -> None:
        cost = lease.ticket.cost_ms
        lease.began = now
        lease.ends = now + cost * self.per_ms
        self.left_ms += 0.5 * cost
        self.running.append(lease)

    def _crowd(self) -> None:
        """What a request more would take per millisecond of cost: neighbours in one machine slow each other down.

        A node whose other slots are all taken counts as half as fast, so that requests spread over equal nodes.
        """
        others = min(self.in_flight + len(self.others), self.capacity - 1)
        self.next_ms = self.per_ms * 2.0 ** (others / self.capacity) if others else self.per_ms

    def due(self) -> float:
        """When a slot should be free for one request more; in the past when one is, or when the node is late."""
        running = self.running
        if self.others:
            return self._shared_due()
        if len(running) < self.capacity:
            return self.foreign_until
        if self.capacity == 1:
            at = running[0].ends
            for lease in self.waiting:
                at += lease.ticket.cost_ms * self.per_ms
            return max(at, self.foreign_until)
        ends = sorted([lease.ends for lease in running])
        for lease in self.waiting:
            ends[0] += lease.ticket.cost_ms * self.per_ms
            ends.sort()
        return max(ends[0], self.foreign_until)

    def _shared_due(self) -> float:
        """As many must be done before as there are more than slots, and one."""
        ends = sorted([lease.ends for lease in self.running + self.waiting] + self.others)
        return ends[len(ends) - self.capacity] if len(ends) >= self.capacity else NEVER

    def free_in(self, now: float) -> float:
        """Seconds until a slot is predicted free. A node that is late by x is expected to be late by x more."""
        if self.open:
            return 0.0
        wait = self.due() - now
        return -wait if wait < 0.0 and self.in_flight + len(self.others) >= self.capacity else max(0.0, wait)

    @property
    def open(self) -> bool:
        """A slot is free now."""
        return self.in_flight + self.foreign < self.capacity

    # ---- what it showed --------------------------------------------------------------------------------------------

    def answered(self, lease: Lease, now: float, service_ms: float | None) -> None:
        """Learn from one good answer. What cannot be true is cut to what can."""
        self.standing.failures = 0
        self.answers += 1
        if self.error_share:
            self.error_share -= ERROR_ALPHA * self.error_share
        self.last_answer = now
        cost, began = lease.ticket.cost_ms, lease.began
        elapsed_ms = 0.0 if began is None else (now - began) * 1e3
        if service_ms is None:
            # A foreign server tells no times. What it did on a free slot is no sojourn in a queue of ours.
            service_ms = elapsed_ms if self.instance.protocol != "fleetgate" and began == lease.claimed else 0.0
        if not (0.0 < service_ms < math.inf and cost > 0.0):
            self._learn_lag(lease, elapsed_ms, cost * self.per_ms * 1e3)
            return
        self._learn_lag(lease, elapsed_ms, service_ms)
        self.service_ms += (service_ms - self.service_ms) * (0.1 if self.service_ms else 1.0)
        speed, seen = self.speed, cost / service_ms
        if not speed / SPEED_STEP < seen < speed * SPEED_STEP:
            seen = speed / SPEED_STEP if seen < speed else speed * SPEED_STEP
        self._set_speed(speed + SPEED_ALPHA * (seen - speed))

    def erred(self, code: str, now: float) -> bool:
        """Count a failure; true when it is one too many. The lag keeps a node that fails fast from looking fast."""
        self.errors += 1
        self.error_share += ERROR_ALPHA * (1.0 - self.error_share)
        enough = self.standing.error(code, now)
        self.lag = min(LAG_MAX, max(self.lag, LAG_FAILURE * 2.0 ** min(self.standing.failures, 8)))
        self.lag_learned = max(self.lag_learned, self.lag + LAG_DEAD)
        return enough

    def forgive(self, now: float) -> None:
        """Called about once a second: what was learned long ago fades, so that a node left alone is tried again."""
        if now - self.last_answer > 2.0 and self.lag_learned:
            self.lag_learned *= 0.9
            self.lag = max(0.0, self.lag_learned - LAG_DEAD)
        if now - self.last_answer > 30.0:
            self._set_speed(self.speed + 0.05 * (self.nominal - self.speed))

    def slow_start(self, now: float, seconds: float) -> None:
        """No work is sent ahead to a node that just came."""
        self.prefetch_from = now + seconds

    def set_weight(self, weight: float) -> None:
        """An operator's factor on its speed; 0 takes it out of the choice."""
        self.weight = min(100.0, max(0.0, weight)) if math.isfinite(weight) else 1.0
        self._set_speed(self.speed)

    def _learn_lag(self, lease: Lease, elapsed_ms: float, service_ms: float) -> None:
        size = lease.ticket.body_bytes
        if not 0 < size <= STREAMED:  # a streamed body travels at its client's pace
            return
        lost = (elapsed_ms - service_ms) * 1e-3 - size / TRANSFER
        if lost <= 0.0 and not self.lag_learned:
            return
        lost = 0.0 if lost < 0.0 else LAG_MAX if lost > LAG_MAX else lost
        self.lag_learned = learned = self.lag_learned + LAG_ALPHA * (lost - self.lag_learned)
        self.lag = learned - LAG_DEAD if learned > LAG_DEAD else 0.0

    def _set_speed(self, speed: float) -> None:
        """Within the range that the announced speed allows."""
        low, high = self.nominal / SPEED_RANGE, self.nominal * SPEED_RANGE
        self.speed = speed = low if speed < low else high if speed > high else speed
        pace = max(1e-6, speed * self.weight)
        self.per_ms = 1e-3 / pace
        # Nodes within 5 % of each other count as equally fast, so that chance spreads requests among them.
        if not self.step_from <= pace < self.step_to:  # a logarithm costs as much as all the rest
            self.step = step = -round(math.log(pace) * 20)
            self.step_from, self.step_to = math.exp((-step - 0.5) / 20), math.exp((-step + 0.5) / 20)
        if self.capacity > 1:
            self._crowd()
        else:
            self.next_ms = self.per_ms

    def _turn_rate(self, now: float) -> None:
        self.rate_before = self.rate if 0.0 <= now - self.rate_at < 2 * RATE_WINDOW else 0
        self.rate, self.rate_at = 0, now

    def rate_now(self, now: float) -> float:
        """Requests of about the last half minute."""
        age = (now - self.rate_at) / RATE_WINDOW
        if not 0.0 <= age < 1.0:
            return self.rate if 0.0 <= age < 2.0 else 0.0
        return self.rate + self.rate_before * (1.0 - age)

    # ---- what it does for others -----------------------------------------------------------------------------------

    def share(self, gateways: int, light_ms: Sequence[float], heavy_ms: Sequence[float], now: float) -> None:
        """Take a line of its stream: how many gateways it serves (0: the stream is gone), and in how many milliseconds
        each request of the others should be done."""
        self.gateways = gateways
        self.moved = now
        self.others = sorted([now + each * 1e-3 for each in (*light_ms, *heavy_ms)])
        self.foreign = len(self.others)
        self.foreign_at, self.foreign_until = now, NEVER
        self.heavy_held += len(heavy_ms) - self.foreign_heavy
        self.foreign_heavy = len(heavy_ms)
        before, self.foreign_ms = self.foreign_ms, sum((*light_ms, *heavy_ms), 0.0) * 1e-3 / self.per_ms
        self.left_ms = self.left_ms + self.foreign_ms - before if self.in_flight else self.foreign_ms
        if self.capacity > 1:
            self._crowd()
        self._move_up(now)

    def told(self, report: LoadReport, now: float) -> bool:
        """Take a load report: what exceeds anything we sent lately is other gateways' work. True if that changed."""
        ours = self.peak
        self.peak = self.in_flight
        self.reported_queue = min(COUNT_MAX, report.queue_depth or 0)
        if self.gateways:
            return False  # its stream knows better, and sooner
        total = min(COUNT_MAX, report.inflight or 0) + self.reported_queue
        others = min(CAPACITY_MAX, total - ours)
        if others <= 0:
            changed = self.foreign > 0
            self.foreign = 0
            self.foreign_until = NEVER
            return changed
        work_ms = report.work_ms or 0.0  # at this node's speed
        share_ms = work_ms * others / total if 0.0 < work_ms < math.inf else others * self.service_ms
        self.foreign = others
        self.foreign_at = now
        self.foreign_until = now + min(FOREIGN_FRESH, share_ms * 1e-3 / self.capacity)
        return True

    def refused(self, now: float) -> tuple[float, float]:
        """It said it is full: others keep it busy for about one request's time. Until when by this guess, and when the
        guess is to be forgotten."""
        if self.gateways > 1:  # another gateway was faster; the stream's next line will tell exactly
            until = now + max(0.01, self.service_ms * 1e-3)
            self.others = sorted([*self.others, until])
            self.foreign = len(self.others)
            return until, max(until, now + LINE_WAIT)
        self.foreign = max(self.foreign, self.capacity - self.in_flight + 1)
        self.foreign_at = now
        self.foreign_until = now + min(1.0, max(0.05, self.service_ms * 1e-3))
        return self.foreign_until, self.foreign_until

    def forget_refusal(self, until: float, now: float) -> None:
        """The guess that a refusal made is old; what was heard since, from its stream or in a report, stands."""
        if until in self.others:
            self.others.remove(until)
            self.foreign = len(self.others)
            if self.capacity > 1:
                self._crowd()
            self._move_up(now)
        elif self.foreign_until == until:
            self.foreign = 0
            self.foreign_until = NEVER

    def forget_foreign(self, now: float) -> bool:
        """Reports grow old; true when one did."""
        if self.foreign and not self.gateways and not self.foreign_at <= now < self.foreign_at + FOREIGN_FRESH:
            self.foreign = 0
            self.foreign_until = NEVER
            return True
        return False
