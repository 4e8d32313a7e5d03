"""What requests feel while the node they use loads another version of its model, switches, and unloads the old one."""

from __future__ import annotations

import asyncio
from random import Random
from time import monotonic

from loadtest.images import photos
from loadtest.serving.figure import Figure
from loadtest.serving.one_node import one_node
from loadtest.serving.stream import Asked, Stream, errors, percentile

MOST_RATIO = 1.5
SWITCHES = 6
QUIET_SECONDS = 8.0
UNLOAD_SECONDS = 1.5  # from the switch until the old version is closed: its grace time, and closing
SHARE = 0.5  # of what saturates the node


async def measure() -> list[Figure]:
    """p99 from each order until the old version is closed, over p99 of the quiet time before it."""
    async with one_node("models.keep_seconds=0") as node:
        stream, stop = Stream(node, [photo.body for photo in photos()["small"][:12]]), asyncio.Event()
        most = await stream.saturate(clients=6, seconds=5.0)
        sending = asyncio.create_task(stream.run(SHARE * most, Random(1), stop))
        before: list[Asked] = []
        during: list[Asked] = []
        seconds = []
        for number in range(2, 2 + SWITCHES):
            await asyncio.to_thread(node.publish, str(number))
            start = monotonic()
            await asyncio.sleep(QUIET_SECONDS)
            order = monotonic()
            await node.order("load")
            seconds.append(monotonic() - order)
            await asyncio.sleep(UNLOAD_SECONDS)
            before += stream.between(start, order)
            during += stream.between(order, monotonic())
        stop.set()
        await sending
    quiet, busy = percentile(before, 0.99), percentile(during, 0.99)
    models = {each.model for each in stream.asked if each.model}
    load = f"{SHARE * most:.0f} requests/s, {len(during)} during {SWITCHES} switches of {max(seconds):.1f} s at most"
    return [
        Figure("version switch: p99 during / before", f"{busy:.0f} / {quiet:.0f} ms = {busy / quiet:.2f}",
               f"at most {MOST_RATIO}", busy <= MOST_RATIO * quiet, load),
        Figure("version switch: errors", f"{errors(during)}, and {errors(before)} before", "0", not errors(during),
               f"{len(stream.asked)} requests, answered by {len(models)} versions"),
    ]  # fmt: skip
