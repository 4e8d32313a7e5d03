"""Latency at a given rate: requests leave on schedule, whatever the answers do, and count from when they were due.

python -m loadtest.proxy.paced HOST:PORT BODY-FILE RATE SECONDS prints one line of JSON: a Paced.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import cast

import msgspec
import uvloop

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 64
_DRAIN_SECONDS = 5.0


class Paced(msgspec.Struct, frozen=True):
    """`late_ms`: the 99th percentile of how long after its due time a request left us; it is part of the latencies."""

    sent: int
    errors: int
    p50_ms: float
    p99_ms: float
    late_ms: float


def run(address: str, body: Path, rate: float, seconds: int, core: int) -> Paced:
    """Send in a process of its own, pinned to `core`."""
    command = [sys.executable, "-m", "loadtest.proxy.paced", address, str(body), str(rate), str(seconds)]
    if hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", str(core), *command]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return msgspec.json.decode(done.stdout, type=Paced)


class _Line(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._bytes = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is free from now on."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, due: float, request: bytes) -> None:
        """One request that was due then."""
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """The answer is short and says its length."""
        self._bytes += data
        head, end, body = self._bytes.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length or 0):
            good = head.startswith(b"HTTP/1.1 200") and length != b""
            self._bytes = b""
            self._sender.answered(self, self._due, good)

    def connection_lost(self, _: Exception | None) -> None:
        """Nobody should close it while it is measured."""
        self._sender.lost += 1


class _Sender:
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._free: deque[_Line] = deque()
        self._waiting: deque[float] = deque()
        self._loop = asyncio.get_running_loop()
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.sent = self.errors = self.lost = 0
        self._all_sent = False
        self._done = asyncio.Event()

    async def connect(self, host: str, port: int) -> None:
        for _ in range(CONNECTIONS):
            _, line = await self._loop.create_connection(lambda: _Line(self), host, port)
            self._free.append(line)

    async def send(self, rate: float, seconds: float) -> None:
        start = time.perf_counter() + 0.1  # the loop's own clock may tick in milliseconds
        for number in range(round(rate * seconds)):
            due = start + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.late.append(max(0.0, time.perf_counter() - due))
            self.sent += 1
            if self._free:
                self._free.popleft().send(due, self._request)
            else:
                self._waiting.append(due)
            if number % CONNECTIONS == 0:
                await asyncio.sleep(0)
        self._all_sent = True
        if len(self.latencies) >= self.sent:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._done.wait()

    def answered(self, line: _Line, due: float, good: bool) -> None:
        self.latencies.append(time.perf_counter() - due)
        self.errors += not good
        if self._all_sent and len(self.latencies) >= self.sent:
            self._done.set()
        if self._waiting:
            line.send(self._waiting.popleft(), self._request)
        else:
            self._free.append(line)


async def _measure(address: str, body: bytes, rate: float, seconds: float) -> Paced:
    host, port = address.split(":")
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: {address}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n"
    )
    sender = _Sender(head.encode() + b"\r\n" + body)
    await sender.connect(host, int(port))
    await sender.send(rate, seconds)
    unanswered = sender.sent - len(sender.latencies)
    latencies, late = sorted(sender.latencies), sorted(sender.late)
    return Paced(
        sent=sender.sent,
        errors=sender.errors + unanswered + sender.lost,
        p50_ms=_quantile(latencies, 0.5),
        p99_ms=_quantile(latencies, 0.99),
        late_ms=_quantile(late, 0.99),
    )


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] * 1e3 if values else 0.0


if __name__ == "__main__":
    _address, _file, _rate, _seconds = sys.argv[1:]
    _found = uvloop.run(_measure(_address, Path(_file).read_bytes(), float(_rate), float(_seconds)))
    sys.stdout.write(json.dumps(msgspec.to_builtins(_found)) + "\n")
