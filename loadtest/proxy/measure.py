"""One measurement: a proxy, a body, a number of connections → CPU time per request, rate, memory."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from loadtest.peers import Peer
from loadtest.proxy import paced, wrk

GENERATOR_CORE, PROXY_CORE = 0, 1


class Sample(msgspec.Struct, frozen=True):
    """CPU is the proxy's own, from /proc, so that a noisy machine matters little."""

    proxy: str
    body: str
    connections: int
    backends: int
    workers: int
    requests: int
    errors: int
    cpu_us: float  # per request
    per_second: float
    p50_ms: float
    p99_ms: float


class Latency(msgspec.Struct, frozen=True):
    """At a rate that leaves room. `own_half`: half of what this proxy did at most; else the same for all."""

    proxy: str
    body: str
    rate: float  # requests a second
    own_half: bool
    result: paced.Paced


def latency(peer: Peer, body_name: str, body: Path, *, rate: float, own_half: bool, seconds: int) -> Latency:
    """Latencies at `rate`, from the same core as all other load."""
    result = paced.run(peer.address, body, rate, seconds, GENERATOR_CORE)
    return Latency(peer.name, body_name, rate, own_half, result)


def sample(
    peer: Peer,
    body_name: str,
    body: Path,
    *,
    connections: int,
    backends: int,
    workers: int,
    seconds: int,
    folder: Path,
) -> Sample:
    """Load the proxy for `seconds`, after a short warm-up that does not count."""
    url = f"http://{peer.address}/v1/predict"
    wrk.run(url, body, connections, max(1, round(seconds / 4)), GENERATOR_CORE, folder)
    before = peer.cpu_seconds()
    result = wrk.run(url, body, connections, seconds, GENERATOR_CORE, folder)
    used = peer.cpu_seconds() - before
    return Sample(
        proxy=peer.name,
        body=body_name,
        connections=connections,
        backends=backends,
        workers=workers,
        requests=result.requests,
        errors=result.errors,
        cpu_us=used / max(1, result.requests) * 1e6,
        per_second=result.per_second,
        p50_ms=result.p50 * 1e3,
        p99_ms=result.p99 * 1e3,
    )


def settle(peer: Peer) -> None:
    """Until all its processes have started: they use hardly any CPU then."""
    before = 0.0
    while (now := peer.cpu_seconds()) - before > 0.05:
        before = now
        time.sleep(0.5)


def idle_connection_bytes(peer: Peer, count: int) -> float:
    """Resident memory that one idle keep-alive connection costs."""
    before = peer.resident_bytes()
    with _connections(peer.address, count):
        time.sleep(1.0)
        return (peer.resident_bytes() - before) / count


@contextmanager
def _connections(address: str, count: int) -> Iterator[None]:
    host, port = address.split(":")
    head = f"GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            connection.sendall(head)
            connection.recv(4096)
        yield
