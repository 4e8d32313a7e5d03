"""`python -m loadtest.soak` (`make soak`): many mixed requests, hang-ups on either side, and then: what is still held?

A gateway in a process of its own, as it comes, before bad nodes. Exit code 1 when anything was not let go of.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from random import Random

import uvloop
from rich.console import Console
from rich.table import Table

from loadtest.peers import Peer
from loadtest.proxy.contenders import fleetgate
from loadtest.soak.clients import Clients
from loadtest.soak.nodes import Node
from loadtest.soak.watch import Held, held

NODES = 4
# Idle connections to nodes stay open for twenty seconds; then nothing is left but listeners and the loop's own files.
_IDLE_SECONDS = 45.0
_MORE_FILES = 4  # the prober's connections
_MORE_MIB = 48.0  # after the first tenth has warmed it up: what allocators keep, whatever the number of requests


def main() -> int:
    """1 when something leaked."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--at-once", type=int, default=64, help="clients")
    parser.add_argument("--seed", type=int, default=1)
    return uvloop.run(_soak(parser.parse_args(), Console()))


async def _soak(args: argparse.Namespace, console: Console) -> int:
    rng = Random(args.seed)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        servers = [await loop.create_server(lambda: Node(rng), "127.0.0.1", 0) for _ in range(NODES)]
        for server in servers:
            stack.callback(server.close)
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        peer, operators = fleetgate(ports, 1, None)
        await asyncio.to_thread(peer.__enter__)
        stack.callback(peer.__exit__)
        clients = Clients(peer.address, rng)
        fresh = await _let_go(peer, operators, None)
        await clients.run(max(1, args.requests // 10), args.at_once)
        warm = await _let_go(peer, operators, None)
        await clients.run(args.requests - args.requests // 10, args.at_once)
        last = await _let_go(peer, operators, fresh)
    _print(console, clients, fresh, warm, last)
    leaks = _leaks(fresh, warm, last)
    for leak in leaks:
        console.print(f"[red]{leak}")
    if not leaks:
        console.print(f"{clients.sent} requests: nothing was kept")
    return 1 if leaks else 0


async def _let_go(peer: Peer, operators: str, fresh: Held | None) -> Held:
    """What is held once everything that ends by itself has ended."""
    end = asyncio.get_running_loop().time() + _IDLE_SECONDS
    while True:
        now = await asyncio.to_thread(held, peer, operators)
        settled = not (now.in_flight or now.in_nodes or now.queued)
        if settled and (fresh is None or now.files <= fresh.files + _MORE_FILES):
            return now
        if asyncio.get_running_loop().time() > end:
            return now
        await asyncio.sleep(0.5)


def _leaks(fresh: Held, warm: Held, last: Held) -> list[str]:
    found = [
        f"{number} {what} were not let go of"
        for number, what in (
            (last.in_flight, "requests"),
            (last.in_nodes, "slots"),
            (last.queued, "places in the queue"),
        )
        if number
    ]
    if last.files > fresh.files + _MORE_FILES:
        found.append(f"{last.files - fresh.files} files more are open than at the beginning")
    if last.resident_mib > warm.resident_mib + _MORE_MIB:
        found.append(f"{last.resident_mib - warm.resident_mib:.0f} MiB more are held than after the first tenth")
    return found


def _print(console: Console, clients: Clients, *moments: Held) -> None:
    table = Table("", "at first", "after a tenth", "at last")
    for name in Held.__struct_fields__:
        values = [getattr(moment, name) for moment in moments]
        table.add_row(name, *[f"{value:.1f}" if isinstance(value, float) else str(value) for value in values])
    console.print(table)
    console.print(", ".join(f"{name}: {count}" for name, count in sorted(clients.ended.items())))


if __name__ == "__main__":
    sys.exit(main())
