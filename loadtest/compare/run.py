"""One run: the fleet, a proxy in front of it, the generator before that, and the machine watched meanwhile."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier
from typing import NamedTuple

import msgspec

from loadtest.compare.contenders import HEAVY_MS, LIGHT_MS, ROOT, Contender
from loadtest.compare.generator import Answers, Job, Shot
from loadtest.compare.nodes import Fleet
from loadtest.compare.outcome import Machine, Outcome, outcome
from loadtest.compare.ports import Ports
from loadtest.compare.scenarios import Scenario
from loadtest.peers import Peer, Target
from loadtest.simulate.arrivals import Arrival, Load
from loadtest.simulate.machines import FLEETS, FleetPlan
from loadtest.simulate.world import Options, Record, simulate

SETTLE_SECONDS = 0.5  # probes and first snapshots
PATIENCE_SECONDS = 6.0  # after the last arrival: more than twice the target of oversized work


def fleet_of(scenario: Scenario) -> FleetPlan:
    """12 light nodes of speeds 0.8, 1 and 1.2, and 6 heavy ones of speed 2."""
    plan = FLEETS["A"]
    return plan.slowed("heavy", scenario.slow) if scenario.slow != 1.0 else plan


class Bench(NamedTuple):
    """What runs have in common: stretched time, ports to take, and those at the same time to begin and end with."""

    scale: float
    ports: Ports
    together: Barrier
    seed: int = 1


def measure(contender: Contender, scenario: Scenario, load: Load, bench: Bench) -> Outcome:
    """Everything fresh, so that no run inherits another's queues.

    Runs that share the machine begin and end at the same time, together: nobody's start disturbs another's figures.
    """
    plan, scale = fleet_of(scenario), bench.scale
    with ExitStack() as stack:
        stack.push(lambda kind, *_: bench.together.abort() if kind else None)  # whoever fails lets nobody wait
        fleet, targets = stack.enter_context(emulated(plan, bench, contender.waiting))
        proxies = [stack.enter_context(contender.start(targets, scale, bench.ports)) for _ in range(scenario.gateways)]
        job = Job(
            [proxy.address for proxy in proxies],
            [_shot(arrival, scale) for arrival in load.arrivals],
            PATIENCE_SECONDS * scale,
            bench.seed,
        )
        bench.together.wait()
        time.sleep(SETTLE_SECONDS)
        answers, machine = _watched(job, fleet, proxies)
        bench.together.wait()
    return outcome(contender.name, scenario.name, load, answers.hits, plan, scale, machine)


@contextmanager
def emulated(plan: FleetPlan, bench: Bench, waiting: int | None = None) -> Iterator[tuple[Peer, list[Target]]]:
    """The emulated fleet in a process of its own."""
    ports = bench.ports.take(len(plan.machines))
    document = msgspec.json.encode(Fleet(list(plan.machines), ports, bench.scale, waiting)).decode()
    command = [sys.executable, "-m", "loadtest.compare.nodes", "{folder}/fleet.json"]
    targets = [
        Target("127.0.0.1", port, machine.pool, machine.slots, machine.speed)
        for machine, port in zip(plan.machines, ports, strict=True)
    ]
    with Peer("nodes", ports[0], {"fleet.json": document}, command, environ={"PYTHONPATH": str(ROOT)}) as fleet:
        yield fleet, targets


def simulated(scenario: Scenario, load: Load) -> list[Record]:
    """What the simulator expects of one gateway on the same arrivals."""
    return simulate(load, fleet_of(scenario), Options(predict=True))


def _shot(arrival: Arrival, scale: float) -> Shot:
    target = HEAVY_MS if arrival.heavy else LIGHT_MS
    return Shot(arrival.at * scale, arrival.pixels, arrival.actual_ms / arrival.cost_ms, round(target * scale))


def _watched(job: Job, fleet: Peer, proxies: Sequence[Peer]) -> tuple[Answers, Machine]:
    processes = [fleet, *proxies]
    before, idle_before, clock = [each.cpu_seconds() for each in processes], _idle_seconds(), time.monotonic()
    answers = generated(job)
    for each in processes:
        if each.process.poll() is not None:
            raise RuntimeError(f"{each.name} died:\n{each.log.read_text(errors='replace')[-2000:]}")
    seconds = time.monotonic() - clock
    used = [(each.cpu_seconds() - then) / seconds for each, then in zip(processes, before, strict=True)]
    idle, total = (now - then for now, then in zip(_idle_seconds(), idle_before, strict=True))
    machine = Machine(
        idle=idle / max(1e-9, total), nodes_cpu=used[0], proxy_cpu=sum(used[1:]), generator_cpu=answers.cpu
    )
    return answers, machine


def generated(job: Job) -> Answers:
    """The generator in a process of its own. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="generator-") as folder:
        asked, told = Path(folder) / "job", Path(folder) / "answers"
        asked.write_bytes(msgspec.msgpack.encode(job))
        subprocess.run(
            [sys.executable, "-m", "loadtest.compare.generator", str(asked), str(told)], check=True, cwd=ROOT
        )
        return msgspec.msgpack.decode(told.read_bytes(), type=Answers)


def _idle_seconds() -> tuple[float, float]:
    """Idle time and all time of all cores so far, in ticks."""
    ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return float(ticks[3] + ticks[4]), float(sum(ticks))
