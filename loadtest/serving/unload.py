"""What a node keeps of versions that it has unloaded: its memory while one version after the other takes the place of
the one before.
"""

from __future__ import annotations

import asyncio
import shutil
from time import monotonic

from loadtest.images import photos
from loadtest.serving.figure import Figure
from loadtest.serving.one_node import MODEL, OneNode, one_node
from loadtest.serving.stream import Stream, errors

SWITCHES = 20
REQUESTS = 16  # with each version
MOST_MB = 2.0  # a switch; it was 13 before memory was given back, and no end in sight
_LOOK_SECONDS = 0.05


async def measure() -> list[Figure]:
    """Memory of the node and its worker processes once the old version is unloaded, after each switch."""
    async with one_node("models.keep_seconds=0", "drain.grace_seconds=0.1") as node:
        stream = Stream(node, [photo.body for photo in photos()["small"][:REQUESTS]])
        held = [await _use(node, stream)]
        for number in range(2, 2 + SWITCHES):
            held.append(await _switch(node, str(number), stream))
    half = len(held) // 2  # the first switches make the room that two versions at once take
    growth = (max(held[half:]) - max(held[:half])) / half
    course = " ".join(f"{each:.0f}" for each in held)
    return [
        Figure("memory kept of an unloaded version", f"{growth:.1f} MB a switch", f"at most {MOST_MB:g}",
               growth <= MOST_MB and not errors(stream.asked),
               f"the most of the second half against the most of the first; MB after each of {SWITCHES}: {course}"),
    ]  # fmt: skip


async def _switch(node: OneNode, version: str, stream: Stream) -> float:
    await asyncio.to_thread(node.publish, version)
    await node.order("load")
    while await node.versions() != {version}:  # noqa: ASYNC110 - a node tells nobody when it is done
        await asyncio.sleep(_LOOK_SECONDS)
    shutil.rmtree(node.models / MODEL / str(int(version) - 1))
    return await _use(node, stream)


async def _use(node: OneNode, stream: Stream) -> float:
    """Megabytes after some requests."""
    for body in stream.bodies:
        await stream.one(body, monotonic())
    return node.held_bytes / 1e6
