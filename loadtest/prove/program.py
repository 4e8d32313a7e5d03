"""One program of the fleet under proof: started, killed, frozen, slowed, asked to leave, started again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

START_SECONDS = 180.0  # a node on a busy machine loads and warms its model
LEAVE_SECONDS = 60.0
RUN_SECONDS, PAUSE_SECONDS = 0.05, 0.15  # of a slowed program: a quarter of its speed


class DidNotStart(Exception):
    """A program ended, or said nothing, instead of becoming ready; one line."""


class Program:
    """`fleetgate ARGUMENTS` in a process of its own. It leaves when we die, as a socket pair ties it to us."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, *, polite: bool = False) -> None:
        """`polite`: yield the processor to the others, which would be on machines of their own."""
        self.name = name
        self.arguments = list(arguments)
        self.log = log
        self.addresses: list[str] = []
        self._nice = ["nice", "-n", "5"] if polite and shutil.which("nice") else []
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def __repr__(self) -> str:
        return f"<Program {self.name} pid {self._process.pid if self._process else None}>"

    async def start(self) -> None:
        """Until it says that it is ready. Raises DidNotStart."""
        self._drop_line()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._line = ours
        command = [*self._nice, sys.executable, "-m", "fleetgate", *self.arguments]
        with theirs, self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once; the exit is awaited elsewhere
                [*command, "--supervisor-fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                line = await asyncio.get_running_loop().sock_recv(ours, 1024)
        if not line:
            raise DidNotStart(f"{self.name} did not become ready; its log is {self.log}")
        self.addresses = line.decode().split()

    @property
    def pid(self) -> int:
        """Of its process, once it was started."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        """SIGKILL, SIGSTOP, SIGCONT, SIGTERM."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    async def exited(self) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    async def slow_down(self, seconds: float) -> None:
        """Let it run only a quarter of the time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            while loop.time() < end:
                self.signal(signal.SIGSTOP)
                await asyncio.sleep(PAUSE_SECONDS)
                self.signal(signal.SIGCONT)
                await asyncio.sleep(RUN_SECONDS)
        finally:
            self.signal(signal.SIGCONT)

    async def leave(self) -> int:
        """SIGTERM, and wait; the exit code. Whoever does not leave in time is killed."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self.exited()
            except TimeoutError:
                self._process.kill()
        code = await self.exited()
        self._drop_line()
        return code

    def _drop_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now; below the range that outgoing connections take theirs from."""
    found: list[int] = []
    held: list[socket.socket] = []
    candidate = 12_000 + os.getpid() % 8_000
    while len(found) < count:
        candidate += 1
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            probe = socket.socket(socket.AF_INET, kind)
            held.append(probe)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                break
        else:
            found.append(candidate)
    for probe in held:
        probe.close()
    return found
