"""The operator page over a real gateway under load; its nodes are real HTTP servers told how to answer."""

import time
from typing import Any

from tests.fakes.browser import browse
from tests.fakes.gateway import jpeg, running
from tests.fakes.load import Load
from tests.fakes.node import FakeNode, Reply

TOKEN = "only-operators-know"
# Those that operators get: no test shortens them here.
PROBES = {"probe_interval": 1.0}


def working(name: str, **facts: Any) -> FakeNode:
    """A node that takes its time."""
    return FakeNode(behave=lambda call: Reply(delay=0.02), name=name, capacity=2, **facts)


async def test_drain_by_click_under_load_loses_nothing() -> None:
    async with (
        working("one") as one,
        working("two") as two,
        running(one, two, operator={"port": 0, "token": TOKEN}) as gateway,
        browse(f"http://{gateway.operators}") as seen,
        Load(f"http://{gateway.address}/v1/predict", [jpeg()]) as load,
    ):
        page = seen.page
        await load.until(50)
        await seen.verdict("Serving. All 2 nodes healthy.")
        await page.get_by_role("button", name="Drain one", exact=True).click()
        await page.get_by_label("Reason").fill("rolling restart")
        await page.get_by_label("Operator token").fill(TOKEN)
        await page.get_by_role("button", name="Do it").click()
        await page.locator('tr[data-node="one"] .state', has_text="draining").wait_for()
        await gateway.until(lambda: not gateway.gateway.fleet.backends["one"].in_flight)
        before = len(one.calls)
        await load.until(100)
        assert len(one.calls) == before
        await page.get_by_role("button", name="Undrain one", exact=True).click()
        await page.get_by_label("Reason").fill("restarted")
        await page.get_by_role("button", name="Do it").click()
        await one.wait(lambda node: len(node.calls) > before)
        assert (set(load.statuses), load.broken) == ({200}, [])
        assert seen.complaints == []


async def test_a_node_killed_under_load_flips_the_verdict_and_loses_nothing() -> None:
    async with (
        working("light") as light,
        working("heavy", pool="heavy") as heavy,
        running(light, heavy, health=PROBES) as gateway,
        browse(f"http://{gateway.operators}") as seen,
        Load(f"http://{gateway.address}/v1/predict", [jpeg(), jpeg(6000, 4000)]) as load,
    ):
        await load.until(30)
        await seen.verdict("Serving. All 2 nodes healthy.")
        await heavy.stop()
        killed = time.monotonic()
        await seen.verdict("Heavy pool down: 1 of 1 node ejected; oversized images go to light nodes")
        # Two seconds are promised; what is above them is for a machine that others use too.
        assert time.monotonic() - killed < 4.0
        await load.until(100)
        assert (set(load.statuses), load.broken) == ({200}, [])
        await light.stop()
        await seen.verdict("Down. No node can serve: 2 ejected.")
        await light.start()
        await seen.verdict("Serving. Heavy pool down")
