"""A real Consul: what it does to a fleet when nodes sicken, when it dies, hangs, is wiped, or hides the fleet."""

import asyncio
import itertools
import logging
import signal
import time

import pytest

from discovery.config import RegistryConfig
from discovery.consul.registrar import health_check
from discovery.instance import Snapshot, Status
from discovery.registry import open_registrar, open_watcher
from tests.fakes.nodes import health_face, instance
from tests.fakes.real_consul import RealConsul, real_consul
from tests.fakes.watching import hasty_consul, watching

names = itertools.count()


def config(agent: RealConsul, **more: object) -> RegistryConfig:
    return RegistryConfig(
        url=agent.url, **{"service": f"real-{next(names)}", "wait_seconds": 2, "refresh_seconds": 0.2, **more}
    )


def is_fresh(snapshot: Snapshot) -> bool:
    return bool(snapshot.instances) and not snapshot.stale


def status(snapshot: Snapshot) -> Status | None:
    return next((instance.status for instance in snapshot.instances), None)


async def test_a_node_sickens_is_busy_and_recovers_by_its_own_health_answer(consul: RealConsul) -> None:
    settings = config(consul)
    async with health_face() as face, watching(hasty_consul(settings)) as watched:
        registrar = open_registrar(settings)
        await registrar.announce(instance(face.port, settings.service))
        await watched.until(lambda snapshot: status(snapshot) is Status.PASSING)
        for answer, seen in ((429, Status.WARNING), (503, Status.CRITICAL), (200, Status.PASSING)):
            face.status = answer
            await watched.until(lambda snapshot, seen=seen: status(snapshot) is seen)
        assert not any(snapshot.stale for snapshot in watched.snapshots)
        await registrar.close()


async def test_what_is_registered_is_what_the_conventions_ask_for(consul: RealConsul) -> None:
    settings = config(consul)
    registrar = open_registrar(settings)
    who = instance(9000, settings.service, pool="heavy", capacity=7, models=("m@1",))
    await registrar.announce(who)
    service = consul.call("GET", f"/v1/agent/service/{who.id}")
    (entry,) = consul.call("GET", f"/v1/health/service/{settings.service}")
    (own,) = [check for check in entry["Checks"] if check["ServiceID"] == who.id]
    assert (service["Service"], service["Address"], service["Port"]) == (settings.service, "127.0.0.1", 9000)
    assert service["Tags"] == ["heavy"]
    assert service["Weights"] == {"Passing": 7, "Warning": 1}
    assert service["Meta"]["models"] == "m@1"
    assert (own["Type"], own["Status"]) == ("http", "passing"), "warm nodes are not kept waiting for a first check"
    assert health_check(who) == {
        "http": "http://127.0.0.1:9000/v2/health/ready",
        "interval": "2s",
        "timeout": "1s",
        "status": "passing",
        "FailuresBeforeCritical": 2,
        "SuccessBeforePassing": 2,
        "DeregisterCriticalServiceAfter": "10m",
    }
    await registrar.close()


async def test_an_agent_killed_and_restarted_empty_costs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="discovery"), real_consul() as agent:
        settings = config(agent)
        async with health_face() as face, watching(hasty_consul(settings)) as watched:
            registrar = open_registrar(settings)
            await registrar.announce(instance(face.port, settings.service))
            await watched.until(is_fresh)
            seen = len(watched.snapshots)
            agent.kill()
            stale = await watched.until(lambda snapshot: snapshot.stale)
            assert len(stale.instances) == 1
            await asyncio.to_thread(agent.start)
            await watched.until(is_fresh)
            assert all(len(snapshot.instances) == 1 for snapshot in watched.snapshots[seen:]), "never empty"
            await registrar.withdraw()
            await watched.until(lambda snapshot: status(snapshot) is Status.MAINTENANCE)
            await registrar.close()
    own = [record.getMessage() for record in caplog.records if record.name == "discovery.consul.registrar"]
    assert len([line for line in own if line.startswith("cannot announce")]) <= 1, "lost is said once"


async def test_an_agent_that_hangs_holds_nobody_up_and_is_forgiven() -> None:
    async def node_comes_and_goes(settings: RegistryConfig) -> float:
        registrar = open_registrar(settings)
        began = time.monotonic()
        await registrar.announce(instance(9000, settings.service))
        await registrar.withdraw()
        await registrar.close()
        return time.monotonic() - began

    with real_consul() as agent:
        settings = config(agent, wait_seconds=0.5)
        agent.call("PUT", "/v1/agent/service/register", {"ID": "a", "Name": settings.service, "Port": 1})
        async with watching(open_watcher(settings)) as watched:
            await watched.until(is_fresh)
            agent.signal(signal.SIGSTOP)
            node = asyncio.create_task(node_comes_and_goes(settings))
            stale = await watched.until(lambda snapshot: snapshot.stale)
            assert (len(stale.instances), stale.stale) == (1, "Consul did not answer in time")
            assert await node < 20, "5 s to come, 2 s to withdraw, 2 s to leave"
            agent.signal(signal.SIGCONT)
            await watched.until(is_fresh)


async def test_maintenance_by_an_operator_is_seen_and_left_alone(consul: RealConsul) -> None:
    settings = config(consul)
    async with health_face() as face, watching(hasty_consul(settings)) as watched:
        registrar = open_registrar(settings)
        who = instance(face.port, settings.service)
        await registrar.announce(who)
        await watched.until(is_fresh)
        consul.call("PUT", f"/v1/agent/service/maintenance/{who.id}?enable=true&reason=disk")
        await watched.until(lambda snapshot: status(snapshot) is Status.MAINTENANCE)
        await registrar.announce(instance(face.port, settings.service, models=("new@2",)))
        await watched.until(lambda snapshot: next(iter(snapshot.instances)).models == ("new@2",))
        assert status(watched.last) is Status.MAINTENANCE, "changing facts is not for ending an operator's decision"
        await registrar.close()


async def test_an_entry_removed_behind_our_back_is_registered_again(consul: RealConsul) -> None:
    settings = config(consul)
    async with health_face() as face, watching(hasty_consul(settings)) as watched:
        registrar = open_registrar(settings)
        who = instance(face.port, settings.service)
        await registrar.announce(who)
        await watched.until(is_fresh)
        consul.call("PUT", f"/v1/agent/service/deregister/{who.id}")
        await watched.until(lambda snapshot: len(watched.snapshots) > 1 and is_fresh(snapshot))
        await registrar.close()


async def test_hostile_registrations_hide_nobody(consul: RealConsul) -> None:
    settings = config(consul)
    hostile = [
        {"ID": "<img src=x onerror=alert(1)>", "Port": 1, "Address": "10.0.0.1"},
        {"ID": "newline\r\nX-Evil: 1", "Port": 1},
        {"ID": "no-port"},
        {"ID": "path", "Port": 1, "Address": "169.254.169.254/latest"},
        {"ID": "capacity", "Port": 1, "Meta": {"capacity": "all"}},
        {"ID": "pool", "Port": 1, "Meta": {"pool": "admin"}},
    ]
    for service in hostile:
        consul.call("PUT", "/v1/agent/service/register", {"Name": settings.service, **service})
    async with watching(open_watcher(settings)) as watched:
        first = await watched.until(lambda _: True)
    assert {one.id for one in first.instances} == {"<img src=x onerror=alert(1)>"}


async def test_three_hundred_nodes_are_one_snapshot_and_one_change_is_one_more(consul: RealConsul) -> None:
    settings = config(consul)

    def register(number: int, weight: str) -> None:
        body = {"ID": f"n{number}", "Name": settings.service, "Port": 1 + number, "Meta": {"speed": weight}}
        consul.call("PUT", "/v1/agent/service/register", body)

    await asyncio.to_thread(lambda: [register(number, "1") for number in range(300)])
    async with watching(open_watcher(settings)) as watched:
        first = await watched.until(lambda _: True)
        assert len(first.instances) == 300
        await asyncio.to_thread(register, 7, "2")
        await watched.until(lambda snapshot: any(one.speed == 2 for one in snapshot.instances))
        assert len(watched.snapshots) == 2
