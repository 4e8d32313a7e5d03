"""Probes while our own loop is late: what a gateway without CPU may say of others."""

import asyncio
import time

from gateway.config import Health
from tests.fakes.node import FakeNode
from tests.fakes.probing import probing


async def test_a_gateway_without_cpu_blames_nobody() -> None:
    options = Health(probe_interval=0.05, probe_timeout=0.4)
    async with FakeNode(close_idle=True) as node, probing(options) as one:
        one.adopt(node)
        await one.until(lambda: one.probed(node))
        loop, over, turns = asyncio.get_running_loop(), asyncio.Event(), iter(range(10))

        def busy() -> None:  # every turn of the loop takes long, and a connection takes several
            time.sleep(0.15)
            over.set() if next(turns, None) is None else loop.call_soon(busy)

        loop.call_soon(busy)
        await over.wait()
        known = len(one.verdicts)
        await one.until(lambda: len(one.verdicts) >= known + 2)
        assert one.probed(node)
        assert one.lost == 0


async def test_after_a_loop_that_was_away_for_long_nothing_is_said_and_the_node_asked_anew() -> None:
    options = Health(probe_interval=3600.0, probe_timeout=0.4)
    async with FakeNode(ready=0) as node, probing(options) as one:
        one.adopt(node)
        await node.wait(lambda n: n.probes == 2)
        time.sleep(0.8)  # noqa: ASYNC251 - the loop is to be blocked
        node.ready = 200
        await one.until(lambda: one.probed(node))
        assert one.verdicts == [node.instance().id]
        assert node.probes == 3


async def test_a_loop_that_was_away_does_not_save_a_node_that_hangs() -> None:
    options = Health(probe_interval=3600.0, probe_timeout=0.4)
    async with FakeNode(ready=0) as node, probing(options) as one:
        one.adopt(node)
        await node.wait(lambda n: n.probes == 2)
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is to be blocked
        await one.until(lambda: one.probed(node) is False)


async def test_a_loop_that_is_always_late_still_notices_a_node_that_hangs() -> None:
    options = Health(probe_interval=3600.0, probe_timeout=0.2)
    async with FakeNode(ready=0) as node, probing(options) as one:
        one.adopt(node)
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def busy() -> None:
            time.sleep(0.15)
            if not over.is_set():
                loop.call_soon(busy)

        loop.call_soon(busy)
        await one.until(lambda: one.probed(node) is False)
        over.set()
