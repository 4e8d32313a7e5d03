"""One worker process as its parent holds it: started, told what to do, noticed when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway.workers.told import Command, Order

_encode = msgspec.json.Encoder().encode
READY = b"ready\n"


class Process:
    """A worker, ours or taken over from the program that we replaced. It ends when its line breaks, and so do we know.

    A worker whose parent dies sees the same line break, finishes what it has, and leaves.
    """

    def __init__(self, number: int, place: int, pid: int, line: socket.socket, operators: Path) -> None:
        self.number = number
        self.place = place
        self.pid = pid
        self.line = line
        self.operators = operators
        self.started = time.monotonic()
        self.ready = asyncio.Event()
        self.why = ""  # by its own word, when it could not start
        self.ended = asyncio.Event()
        self.code = 0  # once ended; negative for a signal
        self._child: subprocess.Popen[bytes] | None = None
        self._watch = asyncio.get_running_loop().create_task(self._listen())

    def __repr__(self) -> str:
        return f"<Process worker {self.number} pid {self.pid}>"

    @classmethod
    async def start(cls, command: Sequence[str], order: Order) -> Process:
        """Start one; it says later that it is ready. Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            child = subprocess.Popen(  # noqa: ASYNC220, S603 # returns at once; the command is our own
                [*command, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno(), *order.sockets],
                start_new_session=True,  # signals of a terminal reach the parent alone
            )
        assert child.stdin is not None
        with suppress(BrokenPipeError), child.stdin:  # smaller than a pipe holds: this never waits
            child.stdin.write(_encode(order))
        process = cls(order.number, order.place, child.pid, ours, Path(order.operators))
        process._child = child
        return process

    async def tell(self, command: Command) -> None:
        """Give it an order; one that has ended hears nothing."""
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self.line, _encode(command) + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal unless it has ended."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def leave(self, seconds: float) -> None:
        """Wait for its end, and make it end after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended.wait()

    def hand_over(self) -> int:
        """Let go of it without ending it: the descriptor of its line, for the program that takes it over."""
        self._watch.cancel()
        os.set_inheritable(self.line.fileno(), True)
        return self.line.fileno()

    def take_back(self) -> None:
        """Nobody took it over."""
        self._watch = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while said := await loop.sock_recv(self.line, 1024):
                if said == READY:
                    self.ready.set()
                else:
                    self.why = said.decode(errors="replace").strip()
        self.line.close()
        self.code = await asyncio.to_thread(self._reap)
        self.ended.set()

    def _reap(self) -> int:
        if self._child is not None:
            return self._child.wait()
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status)


def described(code: int) -> str:
    """How a process ended, in a word or two."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
