"""What is done to the fleet, and how it shows that the gateway noticed and that all is well again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loadtest.prove.fleet import Fleet
from loadtest.prove.watch import Node, View, Watch

FROZEN_SECONDS = 10.0
SLOWED_SECONDS = 12.0
DOWN_SECONDS = 3.0  # before somebody starts again what was killed
NOTABLY_SLOWER = 0.8  # learned speed over what it was


class Untoward(Exception):
    """Something happened that no trial asked for; one line."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`act` does the harm and repairs it. The rest is asked of the gateway's view, and `noticed` of the one before.

    `prepare` comes before the quiet part that the harm is compared with; `moment` is waited for at its end.
    """

    name: str
    act: Callable[[Fleet, Watch], Awaitable[None]]
    noticed: Callable[[Fleet, View, View], bool] | None  # None: there is nothing to notice
    moment: Callable[[Fleet, View], bool] | None = None
    prepare: Callable[[Fleet], Awaitable[None]] | None = None
    needs: str = "light-1"  # a node, or nothing can be proved
    quick: bool = False


def trials(*, quick: bool = False, word: str = "") -> list[Trial]:
    """In the order in which they are done."""
    return [trial for trial in TRIALS if (trial.quick or not quick) and word in trial.name]


def whole(fleet: Fleet, view: View) -> bool:
    """Every node is trusted and the registry answers."""
    return view.all_healthy(len(fleet.nodes))


def _trusts_no_more(name: str) -> Callable[[Fleet, View, View], bool]:
    def noticed(fleet: Fleet, _before: View, now: View) -> bool:
        node = now.node(fleet.node_id(name))
        return node is None or not node.usable

    return noticed


def _believes_slower(name: str) -> Callable[[Fleet, View, View], bool]:
    def noticed(fleet: Fleet, before: View, now: View) -> bool:
        then, node = before.node(fleet.node_id(name)), now.node(fleet.node_id(name))
        return then is not None and node is not None and node.speed < NOTABLY_SLOWER * then.speed

    return noticed


def _kill(name: str) -> Callable[[Fleet, Watch], Awaitable[None]]:
    async def act(fleet: Fleet, _watch: Watch) -> None:
        node = fleet.nodes[name]
        node.signal(signal.SIGKILL)
        await node.exited()
        await asyncio.sleep(DOWN_SECONDS)
        await node.start()

    return act


def _at_work(name: str) -> Callable[[Fleet, View], bool]:
    """Harm done to a node that holds no request proves nothing."""

    def at_work(fleet: Fleet, view: View) -> bool:
        node = view.node(fleet.node_id(name))
        return node is not None and node.in_flight > 0

    return at_work


async def _freeze(fleet: Fleet, _watch: Watch) -> None:
    node = fleet.nodes["light-1"]
    node.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN_SECONDS)
    finally:
        node.signal(signal.SIGCONT)


async def _slow(fleet: Fleet, _watch: Watch) -> None:
    await fleet.nodes["light-2"].slow_down(SLOWED_SECONDS)


async def _start_other_gateway(fleet: Fleet) -> None:
    await fleet.other.start()


async def _swap_gateways(fleet: Fleet, _watch: Watch) -> None:
    """One is asked to leave while the other one runs; clients go where connections are accepted."""
    leaving, fleet.current = fleet.current, fleet.other
    code = await leaving.leave()
    if code:
        raise Untoward(f"{leaving.name} left with exit code {code}; its log is {leaving.log}")


async def _roll(fleet: Fleet, watch: Watch) -> None:
    for name, node in fleet.nodes.items():
        node_id = fleet.node_id(name)
        code = await node.leave()
        if code:
            raise Untoward(f"{name} left with exit code {code}; its log is {node.log}")
        if await watch.until(_distrusts(node_id)) is None:
            raise Untoward(f"{name} left, and the gateway trusts it still")
        await node.start()
        if await watch.until(_trusts(node_id)) is None:
            raise Untoward(f"{name} came back, but the gateway does not trust it: {node.log}")


def _trusts(node_id: str) -> Callable[[View], bool]:
    return lambda view: view.healthy(node_id)


def _distrusts(node_id: str) -> Callable[[View], bool]:
    return lambda view: not view.healthy(node_id)


async def _switch(fleet: Fleet, watch: Watch) -> None:
    """Nobody is restarted: nodes see the new version in their repository."""
    version = fleet.publish()
    if await watch.until(lambda view: all(_serves_only(node, version) for node in view.nodes)) is None:
        raise Untoward(f"not every node switched to version {version}; their logs are beside {fleet.current.log}")


def _serves_only(node: Node, version: str) -> bool:
    return bool(node.models) and all(model.endswith(f"@{version}") for model in node.models)


def _has_two_versions(_fleet: Fleet, _before: View, now: View) -> bool:
    return any(len(node.models) > 1 for node in now.nodes)


async def _wipe_consul(fleet: Fleet, _watch: Watch) -> None:
    await fleet.consul.kill()
    await asyncio.sleep(DOWN_SECONDS)
    await fleet.consul.start()


TRIALS = [
    Trial(
        "a light node killed",
        _kill("light-1"),
        _trusts_no_more("light-1"),
        _at_work("light-1"),
        needs="light-2",
        quick=True,
    ),
    Trial(
        "the only heavy node killed", _kill("heavy-1"), _trusts_no_more("heavy-1"), _at_work("heavy-1"), needs="heavy-1"
    ),
    Trial(
        f"a node frozen for {FROZEN_SECONDS:.0f} s",
        _freeze,
        _trusts_no_more("light-1"),
        _at_work("light-1"),
        needs="light-2",
    ),
    Trial(
        f"a node slowed to a quarter for {SLOWED_SECONDS:.0f} s", _slow, _believes_slower("light-2"), needs="light-2"
    ),
    Trial("Consul killed and wiped", _wipe_consul, lambda _fleet, _before, now: bool(now.registry.stale), quick=True),
    Trial(
        "all nodes restarted in turn",
        _roll,
        lambda fleet, _before, now: not whole(fleet, now),
        needs="light-2",
    ),
    Trial("all nodes switched to another model version", _switch, _has_two_versions, needs="light-2"),
    Trial("the gateway restarted", _swap_gateways, None, prepare=_start_other_gateway, quick=True),
]
