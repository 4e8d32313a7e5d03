"""Child processes of `fleetgate up`: started, watched, restarted, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

RESTART_MIN, RESTART_MAX = 0.5, 15.0  # seconds; a child that keeps dying must not keep the machine busy


class ChildFailed(Exception):
    """A child that did not come up; its text is one line."""


class Child:
    """One program of the fleet in a process of its own, tied to us by a socket pair.

    Over the pair the child says that it is ready; when we die, however we die, the pair breaks and the child leaves.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.log = log
        self.environ = environ
        self.addresses: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Child {self.name} pid {self.pid}>"

    @property
    def pid(self) -> int | None:
        """The process id, once started."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process and wait until it says that it is ready. Raises ChildFailed if it dies first."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._line = ours
        command = [
            sys.executable,
            "-m",
            "fleetgate",
            *self.arguments,
            "--supervisor-fd",
            str(theirs.fileno()),
        ]
        with theirs, self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop the others in order.
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once; the exit is awaited elsewhere
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environ,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        line = await asyncio.get_running_loop().sock_recv(ours, 1024)
        if not line:
            code = await self.exited()
            raise ChildFailed(f"{self.name} died while starting ({_describe(code)}): {self.last_words()}")
        if not self.addresses:
            self._keep(line.decode().split())

    def _keep(self, addresses: list[str]) -> None:
        """Started again, it must be found where it was: ports that were picked are asked for from now on."""
        self.addresses = addresses
        for flag, address in zip(("--port", "--operator-port"), addresses, strict=False):
            self.arguments += [flag, address.rpartition(":")[2]]

    async def exited(self) -> int:
        """Wait for the end of the process; its return code, negative for a signal."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    async def stop(self, seconds: float) -> None:
        """Ask it to leave, and make it leave after `seconds`."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        exited = asyncio.create_task(self.exited())
        await asyncio.wait((exited,), timeout=seconds)
        if not exited.done():
            self._process.kill()
            await exited
        if self._line:
            self._line.close()

    def last_words(self) -> str:
        """The last line of its log that says something, and where the rest is."""
        tail = self.log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
        said = next((line for line in reversed(tail) if line.strip()), "it said nothing")
        return f"{said.strip()[:300]} (log: {self.log})"


async def keep_alive(child: Child, tell: Callable[[str], None]) -> None:
    """Start `child` again whenever it dies, as a container engine would; runs until cancelled."""
    pause = RESTART_MIN
    while True:
        started = time.monotonic()
        code = await child.exited()
        if time.monotonic() - started > RESTART_MAX:
            pause = RESTART_MIN
        tell(f"{child.name} died ({_describe(code)}); starting it again in {pause:g} s")
        await asyncio.sleep(pause)
        pause = min(pause * 2, RESTART_MAX)
        try:
            await child.start()
            tell(f"{child.name} is back: {child.addresses[0]}, pid {child.pid}")
        except ChildFailed as error:
            tell(str(error))


def free_port(host: str) -> int:
    """A port nobody uses now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def in_use(host: str, port: int) -> bool:
    """Whether somebody listens on this port, or the port cannot be had."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
