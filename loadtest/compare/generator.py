"""The open-loop generator: every request leaves at its own time, whatever became of those before it.

Latency counts from the time when a request was due, so that a late generator flatters nobody; how late it was is
measured too. `python -m loadtest.compare.generator JOB ANSWERS`, both MessagePack.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import cast

import httptools
import msgspec
import uvloop

from loadtest.compare import images
from loadtest.compare.nodes import Told

FILLING = memoryview(bytes(8 << 20))
_NOBODY = Told("", 0.0, 0.0, 0.0)


class Shot(msgspec.Struct, frozen=True, array_like=True):
    """One request: when (seconds from the start), what, and the deadline that the client names (0: none)."""

    at: float
    pixels: int
    noise: float
    deadline_ms: int


class Job(msgspec.Struct, frozen=True):
    """What to do. With several addresses each request picks one by chance."""

    addresses: list[str]
    shots: list[Shot]
    patience: float  # seconds after the last shot until what is open counts as unanswered
    seed: int = 1


class Hit(msgspec.Struct, array_like=True):
    """How it went. Status 0 is no answer; seconds count from when it was due."""

    status: int = 0
    seconds: float = 0.0
    late: float = 0.0  # seconds between due and sent
    retry_after: bool = False
    told: Told = _NOBODY


class Answers(msgspec.Struct):
    """All of it, in the order of shots. `cpu`: share of a core that the generator used."""

    hits: list[Hit]
    cpu: float


class Line(asyncio.Protocol):
    """A connection to a gateway; one request at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._number = -1
        self._fresh = True
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._gateway.lines.add(self)
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def send(self, number: int, shot: Shot) -> None:
        """Send one shot."""
        assert self.transport is not None
        self._number, self._body = number, b""
        self.transport.writelines(_request(self._gateway.address, shot))

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._fresh = True  # an answer has begun: no second try
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            assert self.transport is not None
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102
        number, self._number = self._number, -1
        self._gateway.lost(self, number, again=not self._fresh)

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: ARG002
        """httptools calls these."""
        if name.lower() == b"retry-after":
            self._gateway.hits[self._number].retry_after = True

    def on_body(self, data: bytes) -> None:
        """A piece of the answer."""
        self._body += data

    def on_message_complete(self) -> None:
        """The answer is whole."""
        number, self._number = self._number, -1
        self._gateway.answered(number, self._parser.get_status_code(), self._body)
        if self._parser.should_keep_alive():
            self._fresh = False
            self._gateway.idle.append(self)
        elif self.transport is not None:
            self.transport.close()


class Gateway:
    """One address, its idle connections and what it answered."""

    def __init__(self, address: str, run: Run) -> None:
        self.address = address
        self.idle: deque[Line] = deque()
        self.lines: set[Line] = set()
        self.hits = run.hits
        self._run = run
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, number: int) -> None:
        """On an idle connection if there is one, else on a new one."""
        if self.idle:
            self.idle.pop().send(number, self._run.job.shots[number])
            return
        task = asyncio.get_running_loop().create_task(self._open(number))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def answered(self, number: int, status: int, body: bytes) -> None:
        """Note what came back."""
        hit = self.hits[number]
        hit.status = status
        if status == 200:
            hit.told = msgspec.json.decode(body, type=Told)
        self._run.ended(number)

    def lost(self, line: Line, number: int, again: bool) -> None:
        """A connection is gone; the request on it is sent once more if it met a connection that was closing."""
        self.lines.discard(line)
        if line in self.idle:
            self.idle.remove(line)
        if number < 0 or self._run.over.is_set():
            return
        if again:
            self.send(number)
        else:
            self._run.ended(number)

    async def close(self) -> None:
        """Hang up everywhere."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for line in list(self.lines):
            assert line.transport is not None
            line.transport.abort()
        await asyncio.sleep(0)  # they say goodbye at the next turn of the loop

    async def _open(self, number: int) -> None:
        host, port = self.address.rsplit(":", 1)
        try:
            _, line = await asyncio.get_running_loop().create_connection(lambda: Line(self), host, int(port))
        except OSError:
            self._run.ended(number)
        else:
            line.send(number, self._run.job.shots[number])


class Run:
    """One job under way."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.hits = [Hit() for _ in job.shots]
        self._loop = asyncio.get_running_loop()
        self._gateways = [Gateway(address, self) for address in job.addresses]
        self._chance = Random(job.seed)
        self._next = 0
        self._open = len(job.shots)
        self.over = asyncio.Event()
        self._start = 0.0

    async def finish(self) -> list[Hit]:
        """Send everything, wait for the answers as long as patience lasts."""
        if not self.job.shots:
            return []
        self._start = time.monotonic() + 0.1
        self._fire()
        try:
            async with asyncio.timeout(0.1 + self.job.shots[-1].at + self.job.patience):
                await self.over.wait()
        except TimeoutError:
            self.over.set()
        await asyncio.gather(*[gateway.close() for gateway in self._gateways])
        return self.hits

    def ended(self, number: int) -> None:
        """A request has its answer, or will have none."""
        hit = self.hits[number]
        hit.seconds = time.monotonic() - self._start - self.job.shots[number].at
        self._open -= 1
        if not self._open:
            self.over.set()

    def _fire(self) -> None:
        """Everything that is due now; then sleep until the next."""
        shots = self.job.shots
        now = time.monotonic() - self._start
        while self._next < len(shots) and shots[self._next].at <= now:
            self.hits[self._next].late = now - shots[self._next].at
            self._chance.choice(self._gateways).send(self._next)
            self._next += 1
            now = time.monotonic() - self._start
        if self._next < len(shots):
            self._loop.call_later(max(0.0, shots[self._next].at - now), self._fire)


def _request(address: str, shot: Shot) -> list[bytes | memoryview]:
    start = images.head(shot.pixels, shot.noise)
    size = images.body_bytes(shot.pixels)
    deadline = f"X-Request-Timeout-Ms: {shot.deadline_ms}\r\n" if shot.deadline_ms else ""
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: {address}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {size}\r\n{deadline}\r\n"
    )
    return [head.encode() + start, FILLING[: size - len(start)]]


async def generate(job: Job) -> Answers:
    """Run a job in this process."""
    cpu, clock = time.process_time(), time.monotonic()
    hits = await Run(job).finish()
    return Answers(hits, (time.process_time() - cpu) / (time.monotonic() - clock))


if __name__ == "__main__":
    wanted = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    gc.freeze()
    gc.disable()  # a pause of the collector would delay arrivals
    Path(sys.argv[2]).write_bytes(msgspec.msgpack.encode(uvloop.run(generate(wanted))))
