"""How late the node's event loop is while inferences of half a second run: as the node itself measures it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from time import monotonic

from loadtest.images import photos
from loadtest.serving.figure import Figure
from loadtest.serving.one_node import OneNode, one_node
from loadtest.serving.stream import Stream, percentile

MOST_SECONDS = 0.005
SECONDS = 30.0
ROWS = 64  # to which one image is filled up: half a second and more on one core
_BUCKET = re.compile(r'^event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


async def measure() -> list[Figure]:
    """The share of looks at the loop that found it less than 5 ms late; p99 when that is 99 %."""
    changes = {"batch_buckets": [ROWS]}
    async with one_node("session.threads=1", "batch.max_rows=64", "batch.max_ms=5000", changes=changes) as node:
        batches = Stream(node, [photo.body for photo in photos()["small"][:6]])
        await batches.one(batches.bodies[0], monotonic())
        batches.asked.clear()
        idle = await _in_time(node, lambda: asyncio.sleep(SECONDS / 2))
        busy = await _in_time(node, lambda: batches.saturate(clients=2, seconds=SECONDS))
    return [
        Figure("event loop less than 5 ms late", f"{busy:.1%} of looks, {idle:.1%} while idle", "99 %", busy >= 0.99,
               f"{len(batches.asked)} runs of {ROWS} rows, p50 {percentile(batches.asked, 0.5) / 2:.0f} ms each"),
    ]  # fmt: skip


async def _in_time(node: OneNode, doing: Callable[[], Awaitable[object]]) -> float:
    """The share of looks, ten a second, that found the loop in time. Idle, it tells what the machine itself does."""
    before = await _looks(node)
    await doing()
    after = await _looks(node)
    return (after[str(MOST_SECONDS)] - before[str(MOST_SECONDS)]) / (after["+Inf"] - before["+Inf"])


async def _looks(node: OneNode) -> dict[str, float]:
    async with node.client.get(node.url("/metrics")) as answer:
        return {edge: float(count) for edge, count in _BUCKET.findall(await answer.text())}
