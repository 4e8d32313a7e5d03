"""What every long-running program shares: its configuration flags, its logs, its event loop, its supervisor's line."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from fleetgate import logs
from fleetgate.settings import Settings, SettingsError, load, show

C = TypeVar("C", bound=msgspec.Struct)
Run = Callable[[Any, Callable[..., None]], Awaitable[int]]


def add_arguments(parser: argparse.ArgumentParser, short: Sequence[tuple[str, str, str]]) -> None:
    """The flags of a program. `short` holds (flag, option it sets, help)."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any option")
    for flag, option, text in short:
        parser.add_argument(flag, dest=f"option:{option}", metavar="VALUE", help=f"{text} ({option})")
    parser.add_argument("--print-config", action="store_true", help="show every option and where it came from")
    parser.add_argument("--check-config", action="store_true", help="check the configuration and stop")
    parser.add_argument("--supervisor-fd", type=int, help=argparse.SUPPRESS)


def run(name: str, schema: type[C], start: Run, args: argparse.Namespace) -> int:
    """Load the configuration as the flags say, then run `start(config, ready)` until it ends; its exit code."""
    try:
        loaded = settings(schema, args)
    except SettingsError as error:
        print(f"fleetgate {name}: {error}", file=sys.stderr)
        return 2
    if args.print_config:
        print(show(loaded))
        return 0
    if args.check_config:
        print("The configuration is good.")
        return 0
    config: Any = loaded.config
    logs.set_up(name, config.log.level, config.log.format)
    ready: Callable[..., None] = _Supervisor(args.supervisor_fd).ready if args.supervisor_fd else _nobody
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if args.supervisor_fd:
            runner.get_loop().add_reader(args.supervisor_fd, _orphaned, args.supervisor_fd)
        return runner.run(_main(start, config, ready))


def settings(schema: type[C], args: argparse.Namespace) -> Settings[C]:
    """The configuration, from its file, the environment and flags as they are now. Raises SettingsError."""
    return load(schema, file=args.config, environ=os.environ, flags=_flags(args))


async def _main(start: Run, config: Any, ready: Callable[..., None]) -> int:
    return await start(config, ready)


def _flags(args: argparse.Namespace) -> list[tuple[str, str]]:
    pairs = [(key[7:], value) for key, value in vars(args).items() if key.startswith("option:") and value is not None]
    for item in args.set:
        path, equals, value = item.partition("=")
        if not equals:
            raise SettingsError(f"--set {item}: write it as section.key=value")
        pairs.append((path, value))
    return pairs


class _Supervisor:
    """The line to whoever started us: we say when we are ready; when it breaks, nobody watches us any more."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def ready(self, *addresses: str) -> None:
        os.write(self.fd, (" ".join(addresses) + "\n").encode())


def _orphaned(fd: int) -> None:
    if not os.read(fd, 1):
        asyncio.get_running_loop().remove_reader(fd)
        os.kill(os.getpid(), signal.SIGTERM)


def _nobody(*_addresses: str) -> None:
    """Started by hand or by a container engine, which asks /readyz instead."""
