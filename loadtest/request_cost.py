"""What one request costs the gateway in microseconds of CPU, sockets left out: `python -m loadtest.request_cost`.

The whole gateway, as it comes, on uvloop in this process; its transports keep nothing and answer at once. The best of
many rounds counts: other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random

import uvloop

from discovery.instance import Instance, Snapshot
from discovery.static import StaticWatcher
from gateway import memory
from gateway.app import Gateway
from gateway.config import GatewayConfig
from gateway.node_connection import Connection as NodeConnection
from gateway.node_pool import Pool, PoolOptions
from loadtest.proxy import bodies

CLIENTS = 16
REQUESTS = 25  # of each client in a round
_BODY = b'[{"label":"tabby","score":0.9}]'
# As nginx answers in loadtest.proxy; and as our own nodes do.
_PLAIN = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 24 Nov 2026 07:00:00 GMT\r\nContent-Type: application/json\r\n"
)
_OURS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Fleetgate-Model: toy@1\r\n"
    b'endpoint-load-metrics: JSON {"application_utilization":0.25,"rps_fractional":41.2,"eps":0.001,'
    b'"named_metrics":{"inflight":1.0,"queue_depth":0.0,"capacity":8.0,"work_ms":12.5}}\r\n'
    b"Server-Timing: queue;dur=0.120, decode;dur=3.400, infer;dur=21.700\r\n"
)
_END = b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (len(_BODY), _BODY)
NODES = {"nginx": _PLAIN + _END, "fleetgate": _OURS + _END}


class _Transport(asyncio.Transport):
    """Says yes to everything."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Written."""

    def is_closing(self) -> bool:
        """Never before the end."""
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        """Nothing ever is."""
        return 0

    def abort(self) -> None:
        """Nothing to close."""

    close = abort


class _NodeSide(_Transport):
    """A node that answers whatever it is sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: NodeConnection, answer: bytes) -> None:
        super().__init__()
        self._loop, self._connection, self._answer = loop, connection, answer

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """One call per request."""
        self.write(next(iter(list_of_data)))

    def write(self, _: bytes | bytearray | memoryview) -> None:
        """The same."""
        self._loop.call_soon(self._connection.data_received, self._answer)


class _ClientSide(_Transport):
    """A client that sends its next request as soon as it is answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reads: Sequence[bytes]) -> None:
        super().__init__()
        self._loop, self._reads = loop, reads
        self.receive: Callable[[bytes], None]
        self.left = 0
        self.over = loop.create_future()

    def begin(self, requests: int) -> asyncio.Future[None]:
        """Send so many, one after the other."""
        self.left, self.over = requests, self._loop.create_future()
        self._loop.call_soon(self._send)
        return self.over

    def _send(self) -> None:
        for read in self._reads:
            self.receive(read)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """One call per answer."""
        if bytes(data[:12]) != b"HTTP/1.1 200":
            raise RuntimeError(bytes(data[:200]).decode("latin-1"))
        self.left -= 1
        if self.left:
            self._loop.call_soon(self._send)
        else:
            self.over.set_result(None)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """The same."""
        self.write(next(iter(list_of_data)))


class _Nodes(Pool):
    """Connections that lead nowhere."""

    def __init__(self, options: PoolOptions, answer: bytes) -> None:
        super().__init__(options)
        self._answer = answer

    async def _dial(self, connection: asyncio.Protocol, *_: object) -> None:
        if not isinstance(connection, NodeConnection):
            raise ConnectionRefusedError  # streams for slots: one gateway alone does not need them
        connection.connection_made(_NodeSide(self._loop, connection, self._answer))


def request(body: bytes) -> list[bytes]:
    """What wrk sends, in reads as large as the loop's."""
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    )
    data = head % len(body) + body
    return [data[at : at + 262_144] for at in range(0, len(data), 262_144)]


async def measure(body: bytes, answer: bytes, nodes: int, rounds: int) -> float:
    """Microseconds per request."""
    instances = frozenset(
        Instance(id=f"n-{n}", host="127.0.0.1", port=1000 + n, models=("toy@1",), capacity=1000) for n in range(nodes)
    )
    gateway = Gateway(GatewayConfig(), StaticWatcher(instances), Random(1))
    gateway.client.pool = _Nodes(PoolOptions(connection=gateway.client.pool.options.connection), answer)
    gateway.fleet.adopt(Snapshot(instances=instances), time.monotonic())
    clients = [_join(gateway, request(body)) for _ in range(CLIENTS)]
    await asyncio.sleep(0)
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        before = time.process_time()
        await asyncio.gather(*[client.begin(REQUESTS) for client in clients])
        best = min(best, time.process_time() - before)
    return best / (CLIENTS * REQUESTS) * 1e6


def _join(gateway: Gateway, reads: Sequence[bytes]) -> _ClientSide:
    connection = gateway.server()
    client = _ClientSide(asyncio.get_running_loop(), reads)
    client.receive = connection.data_received
    connection.connection_made(client)
    return client


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.request_cost", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 18, 200])
    parser.add_argument("--bodies", nargs="+", default=["1 KB", "100 KB", "1 MB"], choices=list(bodies.SIZES))
    parser.add_argument("--answers", nargs="+", default=list(NODES), choices=list(NODES), help="whose answers")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args(argv)
    memory.keep_freed()
    for answer in args.answers:
        for size in args.bodies:
            for nodes in args.nodes:
                cost = uvloop.run(measure(bodies.image(bodies.SIZES[size]), NODES[answer], nodes, args.rounds))
                print(f"{size:>7} to {nodes:4} nodes, answers as {answer:9}: {cost:7.1f} µs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
