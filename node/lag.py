"""How late the event loop is: the measure of whether anything blocks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LOOK_SECONDS = 0.1


async def watch(report: Callable[[float], None]) -> None:
    """Tell the lag, in seconds, ten times a second. Runs until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LOOK_SECONDS
        await asyncio.sleep(_LOOK_SECONDS)
        report(max(0.0, loop.time() - due))
