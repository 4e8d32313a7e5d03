"""The emulated fleet: every node on a port of its own, all in one cheap process.

A node has one slot and a queue, first come first served. It holds the slot for the true time of the image that it is
sent, then answers as nodes do: Server-Timing, load report, and in the body what it did.
`python -m loadtest.compare.nodes FLEET.json`.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from math import exp, inf
from pathlib import Path
from typing import Any, cast

import httptools
import msgspec
import uvloop

from loadtest.compare import images
from loadtest.compare.granting import Desk
from loadtest.simulate.machines import Bench, Machine
from node.credits import Seat, Stay
from wire import load_report, timing
from wire.grants import GATEWAY, GRANT, PATH
from wire.load_report import LoadReport

RATE_SECONDS = 5.0  # rates and means forget with this time constant


class Fleet(msgspec.Struct, frozen=True):
    """What the process emulates. `scale` stretches time: 2 is half as fast.

    With `waiting` a node refuses what would wait behind so many others, as our nodes do and our gateway understands.
    """

    machines: list[Machine]
    ports: list[int]
    scale: float = 1.0
    waiting: int | None = None


class Told(msgspec.Struct, frozen=True):
    """What an answer's body tells: milliseconds. `late_ms`: how much later than due the slot was given up."""

    node: str
    queue_ms: float
    service_ms: float
    late_ms: float


class Job:
    """A request on a node. Seconds on the loop's clock."""

    __slots__ = ("arrived", "began", "caller", "due", "gone", "stay", "work")

    def __init__(self, caller: Caller, stay: Stay, work: float, now: float) -> None:
        self.caller = caller
        self.stay = stay
        self.work = work
        self.arrived = self.began = self.due = now
        self.gone = False


class Node:
    """One node at work."""

    def __init__(self, machine: Machine, fleet: Fleet, loop: asyncio.AbstractEventLoop) -> None:
        self.machine = machine
        self._most = inf if fleet.waiting is None else fleet.waiting
        self._bench = Bench(machine)
        self.desk = Desk(machine.slots, loop)
        self._pace = machine.pace / fleet.scale
        self._loop = loop
        self._running: Job | None = None
        self._owed = 0.0  # seconds of work that wait
        self._rate = self._load = 0.0
        self._at = time.monotonic()

    @property
    def full(self) -> bool:
        """Whether it refuses."""
        return self._bench.busy >= self.machine.slots and len(self._bench.queue) >= self._most

    def take(self, job: Job) -> None:
        """A whole body has come."""
        self._pass_time(job.arrived)
        job.work /= self._pace
        self._owed += job.work
        if self._bench.take(job) is not None:
            self._start(job, job.arrived)

    def leave(self, job: Job) -> None:
        """Its caller hung up: work that has begun goes on, work that waits does not."""
        job.gone = True
        if job in self._bench.queue:
            self._bench.queue.remove(job)
            self._owed -= job.work
            self.desk.leave(job.stay)

    def report(self, now: float) -> str:
        """The load report. Its utilization is a mean over time, as weighted round robin needs it."""
        self._pass_time(now)
        running = 0.0 if self._running is None else max(0.0, self._running.due - now)
        return load_report.encode(
            LoadReport(
                application_utilization=self._load,
                rps_fractional=self._rate,
                eps=0.0,
                named_metrics={
                    "inflight": self._bench.busy,
                    "queue_depth": len(self._bench.queue),
                    "capacity": self.machine.slots,
                    "work_ms": round((self._owed + running) * 1e3, 1),
                },
            )
        )

    def _start(self, job: Job, began: float) -> None:
        job.began, job.due = began, began + job.work
        self._owed -= job.work
        self._running = job
        self._loop.call_later(max(0.0, job.due - time.monotonic()), self._done, job)

    def _done(self, job: Job) -> None:
        now = time.monotonic()
        self._pass_time(now)
        self._rate += 1 / RATE_SECONDS
        self._running = None
        following = self._bench.finish()
        if following is not None:
            # From when it could have begun, so that late timers cost no capacity.
            self._start(following, max(job.due, following.arrived))
        self.desk.leave(job.stay)
        if not job.gone:
            job.caller.answer(job, now)

    def _pass_time(self, now: float) -> None:
        kept = exp((self._at - now) / RATE_SECONDS)
        self._rate *= kept
        self._load = self._load * kept + (1 - kept) * (self._bench.busy + len(self._bench.queue))
        self._at = now


class Caller(asyncio.Protocol):
    """One connection to a node."""

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._loop = loop
        self._job: Job | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._start = self._path = b""
        self._keep = True
        self._label = self._gateway = ""
        self._stay: Stay | None = None  # on its way in
        self._seat: Seat | None = None  # it is a stream
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def data_received(self, data: bytes) -> None:  # noqa: D102
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, ValueError):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        if self._job is not None:
            self._node.leave(self._job)
        if self._stay is not None:
            self._node.desk.leave(self._stay)
        if self._seat is not None:
            self._node.desk.close(self._seat)

    def on_message_begin(self) -> None:
        """httptools calls these."""
        self._start = self._path = b""
        self._label = self._gateway = ""

    def on_url(self, url: bytes) -> None:
        """Where to."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Only two fields matter."""
        if len(name) == len(GRANT) and name.lower() == GRANT.lower().encode():
            self._label = value.decode()
        elif len(name) == len(GATEWAY) and name.lower() == GATEWAY.lower().encode():
            self._gateway = value.decode()

    def on_headers_complete(self) -> None:
        """Whoever must be refused is, before the body comes."""
        if self._path == PATH.encode():
            self._seat = self._node.desk.open(self._gateway, self._transport)
        elif self._parser.get_method() == b"POST" and not self._node.full:
            self._stay = self._node.desk.arrive(self._label)

    def on_body(self, data: bytes) -> None:
        """Only the beginning matters, but of a stream all."""
        if self._seat is not None:
            *lines, self._start = (self._start + data).split(b"\n")
            self._node.desk.hear(self._seat, lines)
        elif len(self._start) < images.HEAD_BYTES:
            self._start += data[: images.HEAD_BYTES]

    def on_message_complete(self) -> None:
        """A probe is answered at once, an image takes its place in the queue."""
        self._keep = self._parser.should_keep_alive()
        if self._parser.get_method() == b"GET":
            self._write(b"{}", time.monotonic())
            return
        stay, self._stay = self._stay, None
        if stay is None:
            self._write(b"{}", time.monotonic(), "503 Service Unavailable", "X-Fleetgate-Refused: busy\r\n")
            return
        pixels, noise = images.read(self._start)
        self._job = Job(self, stay, images.work_ms(pixels, noise) * 1e-3, time.monotonic())
        self._node.take(self._job)

    def answer(self, job: Job, now: float) -> None:
        """Its work is done."""
        self._job = None
        queue_ms, service_ms = (job.began - job.arrived) * 1e3, job.work * 1e3
        told = Told(self._node.machine.name, queue_ms, service_ms, (now - job.due) * 1e3)
        spent = timing.encode({"queue": queue_ms, "decode": 0.0, "infer": service_ms})
        self._write(msgspec.json.encode(told), now, more=f"Server-Timing: {spent}\r\n")

    def _write(self, body: bytes, now: float, status: str = "200 OK", more: str = "") -> None:
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"endpoint-load-metrics: {self._node.report(now)}\r\n{more}\r\n"
        )
        self._transport.write(head.encode() + body)
        if not self._keep:
            self._transport.close()


async def open_fleet(fleet: Fleet) -> list[asyncio.Server]:
    """All nodes, listening."""
    loop = asyncio.get_running_loop()
    servers = []
    # The first port opens last: whoever can reach it can reach all.
    for machine, port in reversed(list(zip(fleet.machines, fleet.ports, strict=True))):
        node = Node(machine, fleet, loop)
        servers.append(await loop.create_server(_callers(node, loop), "127.0.0.1", port, backlog=1024))
    return servers[::-1]


def _callers(node: Node, loop: asyncio.AbstractEventLoop) -> Any:
    return lambda: Caller(node, loop)


async def _main(fleet: Fleet) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    servers = await open_fleet(fleet)
    gc.freeze()
    gc.disable()  # a pause of the collector would be a pause of all nodes
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    uvloop.run(_main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Fleet)))
