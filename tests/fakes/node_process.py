"""A fake node as its own process, for tests that kill, stop and continue it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from discovery.instance import Instance


@dataclass(slots=True)
class NodeProcess:
    """A running fake node; signals go to its process only."""

    process: asyncio.subprocess.Process
    port: int

    def instance(self) -> Instance:
        return Instance(
            id=f"fleetgate-node-127.0.0.1-{self.port}", host="127.0.0.1", port=self.port, models=("toy@1",), capacity=8
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def node_process(*arguments: str) -> AsyncIterator[NodeProcess]:
    """`python -m tests.fakes.node ARGUMENTS`, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.node", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield NodeProcess(process, int(await process.stdout.readline()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
