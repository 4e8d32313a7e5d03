"""What a registry must do, seen as a gateway sees it: Consul and a directory alike."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from discovery.config import RegistryConfig
from discovery.instance import Instance, Registrar, Snapshot, Status
from discovery.registry import open_registrar, open_watcher
from tests.fakes.nodes import health_face, instance
from tests.fakes.real_consul import RealConsul
from tests.fakes.watching import Watched, hasty_consul, watching

names = itertools.count()


@dataclass
class Place:
    """A registry with nobody in it, and ports where nodes answer for their health."""

    config: RegistryConfig
    ports: list[int]

    def node(self, number: int = 0, **facts: object) -> Instance:
        return instance(self.ports[number], self.config.service, **facts)

    def rich(self) -> Instance:
        models = ("efficientnet@1", "resnet@7")
        return self.node(pool="heavy", models=models, capacity=3, max_pixels=200_000_000, device="gpu", speed=1.5)

    async def announce(self, who: Instance) -> Registrar:
        registrar = open_registrar(self.config)
        await registrar.announce(who)
        return registrar

    def watching(self) -> AbstractAsyncContextManager[Watched]:
        consul = self.config.url.startswith("consul:")
        return watching(hasty_consul(self.config) if consul else open_watcher(self.config))


@pytest.fixture(params=["consul", "directory"])
async def place(request: pytest.FixtureRequest, consul: RealConsul, tmp_path: Path) -> AsyncIterator[Place]:
    url = consul.url if request.param == "consul" else f"dir:{tmp_path}/not/there/yet"
    config = RegistryConfig(url=url, service=f"contract-{next(names)}", wait_seconds=5, refresh_seconds=0.2)
    async with health_face() as one, health_face() as two, health_face() as three:
        yield Place(config, [one.port, two.port, three.port])


def has(*wanted: Instance) -> Callable[[Snapshot], bool]:
    return lambda snapshot: snapshot.instances == frozenset(wanted) and not snapshot.stale


def statuses(snapshot: Snapshot) -> list[Status]:
    return sorted(instance.status for instance in snapshot.instances)


async def test_an_empty_registry_is_an_empty_snapshot_at_once(place: Place) -> None:
    async with place.watching() as watched:
        first = await watched.until(lambda _: True)
        assert first == Snapshot(instances=frozenset())
        assert watched.watcher.age() < 5


async def test_all_that_is_announced_arrives(place: Place) -> None:
    registrar = await place.announce(place.rich())
    async with place.watching() as watched:
        await watched.until(has(place.rich()))
    await registrar.close()


async def test_a_node_is_seen_coming_leaving_and_gone(place: Place) -> None:
    async with place.watching() as watched:
        await watched.until(has())
        registrar = await place.announce(place.rich())
        await watched.until(has(place.rich()))
        await registrar.withdraw()
        await watched.until(has(msgspec.structs.replace(place.rich(), status=Status.MAINTENANCE)))
        await registrar.close()
        await watched.until(has())
        assert not any(snapshot.stale for snapshot in watched.snapshots), "a polite goodbye raises no alarm"


async def test_a_node_that_leaves_costs_the_others_nothing(place: Place) -> None:
    async with place.watching() as watched:
        registrars = [await place.announce(place.node(number)) for number in range(3)]
        await watched.until(has(place.node(0), place.node(1), place.node(2)))
        await registrars[0].withdraw()
        await registrars[0].close()
        await watched.until(has(place.node(1), place.node(2)))
        for registrar in registrars[1:]:
            await registrar.close()


async def test_new_facts_replace_old_ones_without_a_gap(place: Place) -> None:
    async with place.watching() as watched:
        registrar = await place.announce(place.node(0, models=("old@1",)))
        await watched.until(has(place.node(0, models=("old@1",))))
        seen = len(watched.snapshots)
        await registrar.announce(place.node(0, models=("new@2",)))
        await watched.until(has(place.node(0, models=("new@2",))))
        assert all(len(snapshot.instances) == 1 for snapshot in watched.snapshots[seen:])
        await registrar.close()


async def test_a_restart_under_the_same_name_clears_an_old_maintenance(place: Place) -> None:
    before = await place.announce(place.node(0))
    await before.withdraw()  # and then the process dies
    after = await place.announce(place.node(0))
    async with place.watching() as watched:
        await watched.until(has(place.node(0)))
    await after.close()
    await before.close()


async def test_a_node_back_from_maintenance_is_taken_again(place: Place) -> None:
    registrar = await place.announce(place.node(0))
    async with place.watching() as watched:
        await registrar.withdraw()
        await watched.until(lambda snapshot: statuses(snapshot) == [Status.MAINTENANCE])
        await registrar.announce(place.node(0))
        await watched.until(has(place.node(0)))
    await registrar.close()


async def test_two_gateways_see_the_same(place: Place) -> None:
    async with place.watching() as one, place.watching() as other:
        registrar = await place.announce(place.node(0))
        assert await one.until(has(place.node(0))) == await other.until(has(place.node(0)))
        await registrar.close()


async def test_leaving_without_ever_having_come_is_no_error(place: Place) -> None:
    registrar = open_registrar(place.config)
    await registrar.withdraw()
    await registrar.close()


async def test_a_watch_that_is_dropped_leaves_nothing_running(place: Place) -> None:
    watcher = open_watcher(place.config)
    snapshots = watcher.snapshots()
    await anext(snapshots)
    waiting = asyncio.ensure_future(anext(snapshots))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await watcher.close()
    assert len(asyncio.all_tasks()) == 1
