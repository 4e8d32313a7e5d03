"""Each peer really starts, proxies, and splits by size where it can."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re

import pytest

from loadtest.peers import PEERS, Target, Wanted, start
from loadtest.peers.nginx import _longer_than
from tests.fakes.node import FakeNode


async def _post(address: str, size: int) -> tuple[int, bytes]:
    def post() -> tuple[int, bytes]:
        host, port = address.split(":")
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10)) as client:
            client.request("POST", "/v1/predict", body=b"x" * size)
            answer = client.getresponse()
            return answer.status, answer.read()

    return await asyncio.to_thread(post)


@pytest.mark.parametrize("name", PEERS)
async def test_each_peer_proxies(name: str) -> None:
    program, policy = PEERS[name]
    async with FakeNode() as one, FakeNode() as two:
        wanted = Wanted([Target("127.0.0.1", one.port), Target("127.0.0.1", two.port)], policy)
        with start(program, wanted) as peer:
            assert (await _post(peer.address, 1000))[0] == 200
            assert peer.cpu_seconds() >= 0
            assert peer.resident_bytes() > 1_000_000
    assert sum(call.method == "POST" for call in one.calls + two.calls) == 1


@pytest.mark.parametrize("program", ["haproxy", "envoy", "nginx"])
async def test_long_bodies_go_to_the_heavy_pool_where_a_peer_can_split(program: str) -> None:
    policy = next(policy for own, policy in PEERS.values() if own == program)
    async with FakeNode() as light, FakeNode() as heavy:
        targets = [Target("127.0.0.1", light.port), Target("127.0.0.1", heavy.port, pool="heavy")]
        with start(program, Wanted(targets, policy, split_bytes=5000, slots=True)) as peer:
            for size in (100, 5000, 5001, 70_000):
                assert (await _post(peer.address, size))[0] == 200
    assert [sum(call.method == "POST" for call in node.calls) for node in (light, heavy)] == [2, 2]


@pytest.mark.parametrize("limit", [1, 9, 10, 99, 5000, 123_456, 999_999])
def test_the_expression_for_longer_bodies_is_exact(limit: int) -> None:
    longer = re.compile(_longer_than(limit))
    for number in {0, 1, limit - 1, limit, limit + 1, limit * 10, limit * 3, 10**12}:
        assert bool(longer.match(str(number))) == (number > limit)
