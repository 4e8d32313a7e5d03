"""The same fleet with a real Consul as its registry, which is then killed and wiped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.fakes.fleet import SAMPLES, Up
from tests.fakes.load import Load
from tests.fakes.real_consul import RealConsul, real_consul

CAT = (SAMPLES / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def consul() -> Iterator[RealConsul]:
    with real_consul() as agent:
        yield agent


@pytest.fixture(scope="module")
def fleet(consul: RealConsul) -> Iterator[Up]:
    with Up("--light", "1", "--heavy", "1", "--consul", consul.http_url) as up:
        yield up


def services(consul: RealConsul) -> list[str]:
    found = consul.call("GET", "/v1/health/service/fleetgate-node?passing=1")
    assert isinstance(found, list)
    return sorted(entry["Service"]["Meta"]["pool"] for entry in found)


def page(fleet: Up) -> dict[str, object]:
    document: dict[str, object] = json.loads(fleet.get("/api/fleet", fleet.operators)[2])
    return document


async def test_consul_killed_and_wiped_costs_no_request(consul: RealConsul, fleet: Up) -> None:
    assert services(consul) == ["heavy", "light"]
    async with Load(f"{fleet.public}/v1/predict", [CAT], clients=3) as load:
        await load.until(20)
        consul.kill()
        await load.until(60)
        stale = await asyncio.to_thread(page, fleet)
        await asyncio.to_thread(consul.start)  # with an empty state: it answers, and knows nobody
        await load.until(60)
        async with asyncio.timeout(60):
            while await asyncio.to_thread(services, consul) != ["heavy", "light"]:
                await load.until(5)
    assert load.broken == []
    assert set(load.statuses) == {200}, load.problems
    assert stale["registry"]["stale"], "the page must say that the registry does not answer"  # type: ignore[index]
    assert [node["state"] for node in stale["nodes"]] == ["healthy", "healthy"]  # type: ignore[attr-defined]


async def test_the_page_trusts_the_registry_again(fleet: Up) -> None:
    async with asyncio.timeout(30):
        while (document := await asyncio.to_thread(page, fleet))["registry"]["stale"]:  # type: ignore[index]
            await asyncio.sleep(0.2)
        while document["verdict"]["level"] != "ok":  # type: ignore[index] # its checks turn passing one by one
            await asyncio.sleep(0.2)
            document = await asyncio.to_thread(page, fleet)
    assert [node["state"] for node in document["nodes"]] == ["healthy", "healthy"]  # type: ignore[attr-defined]


def test_stopping_takes_the_nodes_out_of_consul(consul: RealConsul, fleet: Up) -> None:
    assert fleet.stop() == 0
    assert services(consul) == []
