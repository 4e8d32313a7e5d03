"""`python -m loadtest.proxy` (`make bench-proxy`): the same generator, the same backend, one proxy after another.

The generator and the backend share one core, the proxy has the other to itself. `--quick` is a smoke test.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from loadtest.peers import Peer
from loadtest.proxy import bodies, contenders, report, wrk
from loadtest.proxy.backend import backend
from loadtest.proxy.measure import (
    GENERATOR_CORE,
    PROXY_CORE,
    Latency,
    Sample,
    idle_connection_bytes,
    latency,
    sample,
    settle,
)

CONNECTIONS = (16, 256)
BACKENDS = (1, 18, 200, 1000)
IDLE = 1000


def main() -> int:
    """1 when any request failed, or when wrk is missing."""
    parser = argparse.ArgumentParser(prog="make bench-proxy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two proxies, one body, a second each")
    parser.add_argument("--proxies", nargs="+", default=list(contenders.NAMES), choices=contenders.NAMES)
    parser.add_argument("--bodies", nargs="+", default=list(bodies.SIZES), choices=list(bodies.SIZES))
    parser.add_argument("--connections", nargs="+", type=int, default=list(CONNECTIONS))
    parser.add_argument("--backends", nargs="+", type=int, default=list(BACKENDS), help="growth, with 1 KB bodies")
    parser.add_argument("--rates", nargs="+", type=int, default=[500, 1500], help="req/s for latencies, 1 KB bodies")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("var/bench/proxy"))
    args = parser.parse_args()
    if not wrk.available():
        print("bench-proxy needs wrk on PATH; on Debian: apt-get install wrk", file=sys.stderr)
        return 1
    if args.quick:
        args.proxies, args.bodies, args.connections, args.backends = (
            [contenders.SOURCE, "envoy"],
            ["1 KB"],
            [16],
            [1, 18],
        )
        args.seconds, args.rates, args.workers = 1, [200], [1]
    samples, latencies, idle = _run(args, Console(stderr=True))
    report.write(samples, latencies, idle, args.out)
    return 1 if any(s.errors for s in samples) or any(each.result.errors for each in latencies) else 0


def _run(args: argparse.Namespace, console: Console) -> tuple[list[Sample], list[Latency], dict[str, float]]:
    samples: list[Sample] = []
    latencies: list[Latency] = []
    idle: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        files = bodies.write(Path(folder))
        ports = _free_ports(max(args.backends))
        stack.enter_context(backend(ports, GENERATOR_CORE))
        for name in args.proxies:
            for count in args.backends:
                grid = (
                    [(body, c) for body in args.bodies for c in args.connections]
                    if count == 1
                    else [(args.bodies[0], 16)]
                )
                if count > 1 and name == "aiohttp":  # the floor knows one backend
                    continue
                with contenders.contender(name, ports[:count], 1, PROXY_CORE) as peer:
                    if count == 1:  # before any body has grown it
                        idle[name] = idle_connection_bytes(peer, IDLE)
                    for body, connections in grid:
                        console.print(f"{name}: {body}, {connections} connections, {count} backends")
                        samples.append(
                            sample(
                                peer,
                                body,
                                files[body],
                                connections=connections,
                                backends=count,
                                workers=1,
                                seconds=args.seconds,
                                folder=Path(folder),
                            )
                        )
                    if count == 1:
                        latencies += _latencies(peer, args, files, samples)
            samples += _with_workers(name, args, files, ports, Path(folder))
    return samples, latencies, idle


def _latencies(peer: Peer, args: argparse.Namespace, files: dict[str, Path], samples: list[Sample]) -> list[Latency]:
    """At half of what it just did at most with the first of the bodies, and at the rates that all share."""
    body = args.bodies[0]
    most = max(s.per_second for s in samples if (s.proxy, s.body, s.backends) == (peer.name, body, 1))
    rates = [(most / 2, True), *[(float(rate), False) for rate in args.rates]]
    return [latency(peer, body, files[body], rate=rate, own_half=own, seconds=args.seconds) for rate, own in rates]


def _with_workers(
    name: str, args: argparse.Namespace, files: dict[str, Path], ports: list[int], folder: Path
) -> list[Sample]:
    """More workers than one have both cores, beside the generator: their CPU time still counts."""
    found = []
    for workers in args.workers:
        if workers > 1 and name != "aiohttp":
            with contenders.contender(name, ports[:1], workers, None) as peer:
                body = args.bodies[0]
                settle(peer)
                found.append(
                    sample(
                        peer,
                        body,
                        files[body],
                        connections=16,
                        backends=1,
                        workers=workers,
                        seconds=args.seconds,
                        folder=folder,
                    )
                )
    return found


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


if __name__ == "__main__":
    sys.exit(main())
