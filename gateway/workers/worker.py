"""One worker process: a gateway that serves on sockets of its parent, and does what the parent's line says."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path
from random import Random

import msgspec

from discovery.registry import open_watcher
from gateway import memory
from gateway.app import Gateway, Place, prepare
from gateway.server import UnfitAiohttp
from gateway.workers.loads import Loads
from gateway.workers.process import READY
from gateway.workers.told import Command, Order

_log = logging.getLogger("gateway.worker")
# Said by the parent for all, from what it sees in all of us.
_PARENTS_LOGS = ("gateway.fleet", "fleetgate.audit", "fleetgate.operator")


def read_order() -> Order:
    """What the parent wrote to our standard input."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=Order)


async def run(order: Order, line: socket.socket) -> int:
    """Serve until told to leave, or until the parent is gone; the exit code."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they mean the parent
    for name in _PARENTS_LOGS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sockets = [socket.socket(fileno=fd) for fd in order.sockets]
    place = Place(sockets, Path(order.operators), Loads(Path(order.loads)), order.place)
    try:
        prepare(order.config)
        rng = Random()
        gateway = Gateway(order.config, open_watcher(order.config.registry, rng), rng, place)
        await gateway.start(stop)
    except (OSError, UnfitAiohttp, ValueError) as error:
        line.send(str(error).encode()[:1000])
        return 1
    memory.settle()
    if order.at_once:
        await gateway.open()
    reader, writer = await asyncio.open_connection(sock=line)
    first = loop.create_task(gateway.first_snapshot.wait())
    first.add_done_callback(lambda done: None if done.cancelled() or stop.is_set() else writer.write(READY))
    hearing = loop.create_task(_obey(gateway, reader, stop))
    await stop.wait()
    grace = hearing.result() if hearing.done() and not hearing.cancelled() else 0.0
    hearing.cancel()
    first.cancel()
    loop.add_signal_handler(signal.SIGTERM, gateway.hurry)
    code = await gateway.stop(grace)
    writer.close()
    return code


async def _obey(gateway: Gateway, reader: asyncio.StreamReader, stop: asyncio.Event) -> float:
    """Do what the line says until it says to leave, with the grace for idle clients, or breaks."""
    try:
        while line := await reader.readline():
            command = msgspec.json.decode(line, type=Command)
            match command.do:
                case "open":
                    await gateway.open()
                case "configure" if command.config is not None:
                    gateway.configure(command.config)
                case "leave":
                    return command.grace
        _log.warning("the parent is gone")
        return 0.0
    finally:
        stop.set()
