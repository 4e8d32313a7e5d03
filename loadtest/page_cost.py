"""What the operators' page costs a gateway: `python -m loadtest.page_cost`, 200 nodes and 1,000 requests/s unless told.

The operators' side as it is, with its listener and its beat, in this process; requests are told to it as finished, and
pages are readers of the live stream in a process of their own. Shares of one core, above what counting requests costs.
Exit code 1 when one open page costs 2 % or more.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import uvloop
from aiohttp import web

from discovery.instance import Instance, Snapshot
from gateway.config import GatewayConfig
from gateway.costs import Costs
from gateway.dashboard.app import build
from gateway.dashboard.parts import Parts
from gateway.fleet import Fleet
from gateway.journal import Journal
from gateway.metrics import Metrics
from gateway.outcome import Outcome
from gateway.registry_state import RegistryState
from gateway.scheduler import Scheduler

LIMIT = 0.02
PAGES = (0, 1, 10)
TICK_SECONDS = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when one page costs less than the limit."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.page_cost", description=__doc__)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second (1000)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement (15)")
    parser.add_argument("--read", nargs=2, metavar=("URL", "PAGES"), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.read:
        uvloop.run(_read(args.read[0], int(args.read[1])))
        return 0
    shares = uvloop.run(_measure(args.nodes, args.rate, args.seconds))
    print(f"{args.nodes} nodes, {args.rate:g} requests/s; of one core:")
    print(f"  counting the requests alone   {shares[None]:6.2%}")
    for pages in PAGES:
        print(f"  {pages:2} pages open, above that     {shares[pages] - shares[None]:6.2%}")
    return 0 if shares[1] - shares[None] < LIMIT else 1


async def _measure(nodes: int, rate: float, seconds: float) -> dict[int | None, float]:
    """Shares of a core, by pages open; None: without the operators' side."""
    parts = _parts(nodes)
    shares: dict[int | None, float] = {None: await _share(parts, rate, seconds)}
    for pages in PAGES:
        async with _serving(parts) as url, _readers(url, pages):
            shares[pages] = await _share(parts, rate, seconds)
    return shares


def _parts(nodes: int) -> Parts:
    config, rng = GatewayConfig(), Random(1)
    fleet = Fleet(config.health, rng)
    instances = frozenset(
        Instance(
            id=f"node-{number:03}",
            host="127.0.0.1",
            port=9000 + number,
            pool="heavy" if number % 5 == 0 else "light",
            models=("lite0@1",),
            capacity=4,
        )
        for number in range(nodes)
    )
    snapshot = Snapshot(instances=instances)
    fleet.adopt(snapshot, time.monotonic())
    for name in fleet.backends:
        fleet.probed(name, True, time.monotonic())
    registry = RegistryState("static:")
    registry.seen(snapshot, time.time())
    scheduler = Scheduler(fleet, Costs(), config.routing, rng)
    return Parts(
        fleet=fleet, scheduler=scheduler, journal=Journal(), metrics=Metrics(), registry=registry, config=config
    )


async def _share(parts: Parts, rate: float, seconds: float) -> float:
    """CPU of this process while requests are told at that rate, of one core."""
    await asyncio.sleep(2.0)  # whatever has just begun is not meant
    names, rng = list(parts.fleet.backends), Random(2)
    wall, cpu, told = time.monotonic(), time.process_time(), 0
    while (passed := time.monotonic() - wall) < seconds:
        while told < passed * rate:
            told += 1
            outcome = _outcome(told, names[told % len(names)], rng)
            parts.metrics.finished(outcome)
            parts.journal.finished(outcome)
        await asyncio.sleep(TICK_SECONDS)
    return (time.process_time() - cpu) / (time.monotonic() - wall)


def _outcome(number: int, node: str, rng: Random) -> Outcome:
    heavy = number % 20 == 0
    total = (400.0 if heavy else 25.0) * (0.5 + rng.random())
    failed = number % 500 == 0
    return Outcome(
        at=time.time(),
        request_id=f"{number:032x}",
        method="POST",
        route="predict",
        path="/v1/predict",
        status=502 if failed else 200,
        error="node-garbage" if failed else "",
        detail="A node answered garbage" if failed else "",
        model="lite0",
        size_class="heavy" if heavy else "light",
        pool="heavy" if heavy else "light",
        node=node,
        attempts=1,
        pixels=round((12e6 if heavy else 4e5) * (0.5 + rng.random())),
        image_format="jpeg",
        body_bytes=60_000,
        cost_ms=total,
        service_ms=total,
        total_ms=total + 1.0,
        why="pixels",
    )


@asynccontextmanager
async def _serving(parts: Parts) -> AsyncIterator[str]:
    runner = web.AppRunner(build(parts), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _readers(url: str, pages: int) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "loadtest.page_cost", "--read", url, str(pages)]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _read(url: str, pages: int) -> None:
    """So many pages as the gateway sees them, until terminated."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def page() -> None:
            async with session.get(f"{url}/api/events") as answer:
                async for _ in answer.content.iter_any():
                    pass

        await asyncio.gather(*(page() for _ in range(pages)))
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
