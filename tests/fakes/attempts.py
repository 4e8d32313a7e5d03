"""Attempts on fake nodes: a client of its own, what a node does, what came back."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.node_answer import Answer
from gateway.node_client import NodeClient
from tests.fakes.node import Call, Reply

MIB = 1 << 20


@asynccontextmanager
async def client(**options: float) -> AsyncIterator[NodeClient]:
    one = NodeClient(2.0, MIB, **options)
    try:
        yield one
    finally:
        await one.close()
        assert one.pool.open == 0


def always(**reply: object) -> Callable[[Call], Reply]:
    return lambda call: Reply(**reply)


def content(answer: Answer) -> dict[str, object]:
    return json.loads(b"".join(answer.body))


async def pieces(count: int, size: int = 65536) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


async def whole(answer: Answer) -> bytes:
    parts = list(answer.body)
    if answer.rest is not None:
        parts += [piece async for piece in answer.rest]
    return b"".join(parts)


def settled(one: NodeClient) -> bool:
    """Every connection is closed or free again: nothing leaked."""
    return one.pool.open == one.pool.idle
