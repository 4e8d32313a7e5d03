"""How long small images wait on a node that a stream of oversized ones keeps half busy."""

from __future__ import annotations

import asyncio
from random import Random
from time import monotonic

from loadtest.images import photos
from loadtest.serving.figure import Figure
from loadtest.serving.one_node import one_node
from loadtest.serving.stream import Stream, errors, percentile

MOST_RATIO = 2.0
SHARE = 0.5
SECONDS = 40.0
SMALL_PER_SECOND = 5.0


async def measure() -> list[Figure]:
    """Small p99 against the time of one oversized image alone."""
    async with one_node("pool=heavy") as node:
        oversized = Stream(node, [photo.body for photo in photos()["oversized"]])
        small = Stream(node, [photo.body for photo in photos()["small"] if photo.pixels < 1_200_000])
        for body in list(oversized.bodies) * 3:
            await oversized.one(body, monotonic())
        one = percentile(oversized.asked, 0.5)
        most = await oversized.saturate(clients=4, seconds=6.0)
        oversized.asked.clear()
        stop = asyncio.Event()
        streams = [
            asyncio.create_task(oversized.run(SHARE * most, Random(1), stop)),
            asyncio.create_task(small.run(SMALL_PER_SECOND, Random(2), stop)),
        ]
        await asyncio.sleep(SECONDS)
        stop.set()
        await asyncio.gather(*streams)
    p99 = percentile(small.asked, 0.99)
    return [
        Figure("small p99 beside oversized at 50 %", f"{p99:.0f} ms, {p99 / one:.2f} x one oversized ({one:.0f} ms)",
               f"at most {MOST_RATIO:g} x", p99 <= MOST_RATIO * one,
               f"{SHARE * most:.1f} oversized/s and {SMALL_PER_SECOND:g} small/s for {SECONDS:.0f} s, "
               f"{errors(small.asked) + errors(oversized.asked)} errors"),
    ]  # fmt: skip
