"""How a parent starts other programs: workers, a check of the configuration, and what takes its own place."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

HANDOVER_FLAG, WORKER_FLAG = "--handover", "--worker-fd"
CHECK_SECONDS = 30.0  # an interpreter on a busy machine starts in 5; meanwhile no other wish is fulfilled


class Programs:
    """Commands, from the way in which this program was called."""

    def __init__(self, command: Sequence[str], arguments: Sequence[str], check_seconds: float = CHECK_SECONDS) -> None:
        """`command` runs a gateway with `arguments`, those of the first start."""
        self._check_seconds = check_seconds
        self.worker = [*command, WORKER_FLAG]
        self._called = [*command, *_without_handover(arguments)]

    async def unfit(self) -> str:
        """Why the program on disk could not take over with the configuration as it is now; "" if it can."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._called,
                "--check-config",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:  # an interpreter that is being replaced is away for a moment
            return f"{self._called[0]}: {error.strerror or error}"
        try:
            async with asyncio.timeout(self._check_seconds):
                _, said = await process.communicate()
        except TimeoutError:
            return f"it has not checked the configuration within {self._check_seconds:g} s"
        finally:
            if process.returncode is None:  # it hangs, or we are told to stop
                process.kill()
                await process.wait()
        if not process.returncode:
            return ""
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with exit code {process.returncode}"

    def become(self, path: Path) -> None:
        """Let the program on disk take our place, with what was left at `path`. Returns only by OSError."""
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stdout.flush()
        os.execv(self._called[0], [*self._called, HANDOVER_FLAG, str(path)])  # noqa: S606 # our own command


def _without_handover(arguments: Sequence[str]) -> list[str]:
    kept = list(arguments)
    if HANDOVER_FLAG in kept:
        at = kept.index(HANDOVER_FLAG)
        del kept[at : at + 2]
    return kept
