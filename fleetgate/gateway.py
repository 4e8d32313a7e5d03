"""`fleetgate gateway`: one gateway, for production, as one process or as several behind one port."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

import gateway.app
from fleetgate import logs, program
from gateway.config import GatewayConfig
from gateway.workers import worker
from gateway.workers.parent import Parent
from gateway.workers.programs import HANDOVER_FLAG, WORKER_FLAG, Programs


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser("gateway", help="run one gateway")
    program.add_arguments(
        parser,
        (
            ("--host", "listen.host", "public address"),
            ("--port", "listen.port", "public port"),
            ("--workers", "workers.count", "processes behind that port"),
            ("--operator-port", "operator.port", "port of the operator page"),
            ("--registry", "registry.url", "where nodes are announced"),
        ),
    )
    parser.add_argument(HANDOVER_FLAG, type=Path, help=argparse.SUPPRESS)
    parser.add_argument(WORKER_FLAG, type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM, drain, exit 0."""
    if args.worker_fd is not None:
        return _work(args.worker_fd)
    return program.run("gateway", GatewayConfig, partial(_serve, args), args)


async def _serve(args: argparse.Namespace, config: GatewayConfig, ready: Any) -> int:
    def reread() -> GatewayConfig:
        return program.settings(GatewayConfig, args).config

    if config.workers.count == 1 and config.workers.parent == "auto" and args.handover is None:
        return await gateway.app.run(config, ready, reread)
    programs = Programs([sys.executable, "-m", "fleetgate", "gateway"], sys.argv[2:])
    return await Parent(config, reread, programs).run(ready, args.handover)


def _work(line: int) -> int:
    order = worker.read_order()
    logs.set_up(f"gateway-{order.number}", order.config.log.level, order.config.log.format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(worker.run(order, socket.socket(fileno=line)))
