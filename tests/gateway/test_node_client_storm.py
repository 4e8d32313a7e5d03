"""Ten thousand mixed requests to nodes that do everything wrong: no answer astray, no connection leaked."""

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random

from gateway.node_client import NodeClient
from tests.fakes.node import Call, FakeNode, Reply
from tests.fakes.outgoing import Outgoing, Target, until, upload
from wire.errors import WireError

LOOPS = ["uvloop"]
REQUESTS = 10_000
WORKERS = 40
POISON = b"HTTP/1.1 200 OK\r\nX-Request-Id: nobody\r\nContent-Length: 2\r\n\r\n{}"

# What a node may do instead of its work, each about once in a hundred requests.
FAULTS: list[dict[str, object]] = [
    {"refuse": True},
    {"early": True, "status": 413},
    {"early": True, "status": 503, "headers": (("X-Fleetgate-Refused", "busy"),), "end": "close"},
    {"raw": b"<html>", "end": "close"},
    {"raw": POISON + POISON},
    {"raw": b"", "end": "close"},
    {"raw": b"", "end": "reset"},
    {"raw": b"HTTP/1.1 200 OK\r\nConte", "end": "close"},
    {"says": 3},
    {"says": 9000, "end": "close"},
    {"cut": 20, "end": "close"},
    {"cut": 20, "end": "reset"},
    {"chunked": True, "cut": 20, "end": "reset"},
    {"read": 10},
    {"end": "close"},
    {"end": "reset"},
    {"no_length": True},
    {"hang": True},
    {"status": 500},
]
KINDS: list[dict[str, object]] = [
    {},
    {"chunked": True, "piece": 50},
    {"informational": (100, 103)},
    {"delay": 0.002},
    {"trailers": (("X-Late", "1"),), "chunked": True},
]


class Storm:
    """Sends, checks and counts."""

    def __init__(self, client: NodeClient, nodes: list[FakeNode], rng: Random) -> None:
        self.client = client
        self.nodes = nodes
        self.rng = rng
        self.ended: Counter[str] = Counter()
        self.restarting = asyncio.Lock()

    def behave(self, call: Call) -> Reply:
        rng = self.rng
        return Reply(**(rng.choice(FAULTS) if rng.random() < 0.2 else rng.choice(KINDS)))

    def request(self, request_id: str) -> tuple[Outgoing, bytes]:
        rng = self.rng
        content = rng.randbytes(rng.choice([0, 1, 300, 5000, 200_000 if rng.random() < 0.1 else 50]))
        if rng.random() < 0.8:
            return Outgoing(content, request_id=request_id), content

        async def source() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 16384):
                yield content[start : start + 16384]
                await asyncio.sleep(0)

        return upload(source, rng.choice([len(content), None]), request_id), content

    async def one(self, number: int) -> None:
        rng = self.rng
        request, content = self.request(f"r{number}")
        target = Target(rng.choice(self.nodes).instance())
        budget_ms = 15 if rng.random() < 0.1 else 1000
        attempt = asyncio.ensure_future(self.client.attempt(target, request, budget_ms))
        if rng.random() < 0.03:
            await asyncio.wait([attempt], timeout=rng.random() * 0.004)
            attempt.cancel()
        await asyncio.wait([attempt])
        if attempt.cancelled():
            self.ended["cancelled"] += 1
            return
        error = attempt.exception()
        if isinstance(error, WireError):
            self.ended[error.code] += 1
            return
        answer = attempt.result()
        self.ended[str(answer.status)] += 1
        said = json.loads(b"".join(answer.body))
        if answer.status == 200:
            assert said == {
                "request_id": f"r{number}",
                "sha256": hashlib.sha256(content).hexdigest(),
                "length": len(content),
                "target": "/v1/predict",
            }

    async def worker(self, numbers: range) -> None:
        for number in numbers:
            await self.one(number)
            if self.rng.random() < 0.002:
                await self.disturb(self.rng.choice(self.nodes))

    async def disturb(self, node: FakeNode) -> None:
        """Kill and restart it, or let it say something unasked on whatever is idle."""
        if self.rng.random() < 0.5:
            async with self.restarting:
                await restart(node)
        else:
            for writer in [each for each in node.open if not each.is_closing()][:2]:
                writer.write(POISON)


async def restart(node: FakeNode) -> None:
    """Again, should a client's socket have been given the node's port in between."""
    await node.stop()
    for _ in range(100):
        with contextlib.suppress(OSError):
            await node.start()
            return
        await asyncio.sleep(0.01)


async def test_no_answer_goes_astray_and_no_connection_leaks_in_a_storm_of_faults() -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(FakeNode()) for _ in range(3)]
        client = NodeClient(1.0, 1 << 20)
        storm = Storm(client, nodes, Random(20))
        for node in nodes:
            node.behave = storm.behave
        share = REQUESTS // WORKERS
        async with asyncio.TaskGroup() as workers:
            for number in range(WORKERS):
                workers.create_task(storm.worker(range(number * share, number * share + share)))

        assert sum(storm.ended.values()) == REQUESTS
        assert storm.ended["200"] > REQUESTS * 0.5
        assert {"node-busy", "node-garbage", "node-unreachable", "deadline-missed", "cancelled"} <= set(storm.ended)
        # Sent once, and once more only when a connection had been closed while idle.
        assert max(max(node.count.values()) for node in nodes) <= 2
        assert sum(node.pipelined for node in nodes) == 0
        await until(lambda: client.pool.open == client.pool.idle)
        await until(lambda: sum(len(node.open) for node in nodes) == client.pool.open)
        assert client.pool.open <= sum(node.capacity for node in nodes)
        for node in nodes:
            node.behave = lambda call: Reply()
            for _ in range(50):
                answer = await client.attempt(Target(node.instance()), Outgoing(b"x", request_id="after"), 5000)
                assert json.loads(b"".join(answer.body))["request_id"] == "after"
        await client.close()
        assert client.pool.open == 0
        await until(lambda: not any(node.open for node in nodes))
