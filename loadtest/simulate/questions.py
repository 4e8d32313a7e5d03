"""What is asked: options of the command line turned into loads, fleets and gateways to try."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.balancing import POLICIES
from gateway.config import Routing
from loadtest.simulate.arrivals import Load
from loadtest.simulate.machines import FLEETS, FleetPlan, Kind, plan
from loadtest.simulate.recorded import BadTrace, fleet_of, load_of, read
from loadtest.simulate.synthetic import Mix, draw
from loadtest.simulate.world import Options

FLAGS = ("bursty", "adaptive", "walls", "one_pool", "early", "no_shed", "predict")
# Policies that go by what a node still has to do believe the slots it declares; behind a proxy without limits they
# would see every node idle.
BLIND = ("random", "round_robin", "least_connections", "p2c_connections")
ENDLESS = {"queue_requests": 1_000_000, "queue_bytes": 1 << 50}


class BadQuestion(Exception):
    """Options that make no sense together, in one line."""


class Case(msgspec.Struct, frozen=True):
    """One run to make."""

    utilisation: float
    load: Load
    plan: FleetPlan
    options: Options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of `fleetgate simulate`."""
    load = parser.add_argument_group("load")
    load.add_argument(
        "--trace",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="what gateways wrote (log.trace), rotated files too; else the load is made up",
    )
    load.add_argument("--faster", type=float, default=1.0, help="play the trace so many times as dense")
    load.add_argument("--utilisation", type=float, nargs="+", default=[0.6, 0.8, 0.9, 0.95], help="of the fleet")
    load.add_argument("--rate", type=float, help="requests a second, in place of a utilisation")
    load.add_argument("--requests", type=int, default=20_000)
    load.add_argument("--bursty", action="store_true", help="a tenth of the time at 2.5 times the mean rate")
    load.add_argument("--oversized", type=float, default=0.05, help="share of requests")
    load.add_argument("--seed", type=int, default=1)
    fleet = parser.add_argument_group("fleet")
    fleet.add_argument("--fleet", choices=sorted(FLEETS), default="A", help="A: 12 light and 6 heavy; B: 4 and 1")
    fleet.add_argument("--light", type=int, help="so many light nodes, in place of a named or recorded fleet")
    fleet.add_argument("--heavy", type=int, help="so many heavy ones")
    fleet.add_argument("--light-speed", type=float, default=1.0)
    fleet.add_argument("--heavy-speed", type=float, default=2.0)
    fleet.add_argument("--slots", type=int, default=1, help="requests at once on each node")
    fleet.add_argument("--slow", metavar="POOL:FACTOR", help="the first node of a pool is so many times slower")
    gateway = parser.add_argument_group("gateway")
    gateway.add_argument("--policy", nargs="+", default=["earliest_finish"], choices=[*POLICIES, "all"], metavar="NAME")
    gateway.add_argument(
        "--threshold", type=int, nargs="+", default=[], help="pixels; classes are decided anew by each"
    )
    gateway.add_argument("--adaptive", action="store_true", help="let the threshold move")
    gateway.add_argument("--walls", action="store_true", help="pools that nothing crosses")
    gateway.add_argument("--one-pool", action="store_true", help="all nodes take everything")
    gateway.add_argument("--early", action="store_true", help="nodes queue, as behind a proxy; with --one-pool")
    gateway.add_argument("--no-shed", action="store_true", help="nothing is ever too late")
    gateway.add_argument("--predict", action="store_true", help="learn costs as in life, in place of knowing them")
    gateway.add_argument("--gateways", type=int, default=1, help="so many beside each other, on the same nodes")
    gateway.add_argument(
        "--latency", type=float, default=0.5, metavar="MS", help="of what they and nodes tell each other"
    )
    gateway.add_argument("--slo-light", type=float, default=250.0, metavar="MS")
    gateway.add_argument("--slo-heavy", type=float, default=2500.0, metavar="MS")


def cases(args: argparse.Namespace) -> Iterator[Case]:
    """All combinations that were asked for; raises BadQuestion or BadTrace."""
    for load, fleet in loads(args):
        for options in gateways(args):
            yield Case(load.utilisation(fleet.power), load, fleet, options)


def loads(args: argparse.Namespace) -> Iterator[tuple[Load, FleetPlan]]:
    """Each load with the fleet it falls on."""
    _check(args)
    if args.trace is not None:
        lines = read(*args.trace)
        fleet = _slowed(args, _named(args) or fleet_of(lines))
        yield load_of(lines, args.trace[0].name, faster=args.faster), fleet
        return
    fleet = _slowed(args, _named(args) or FLEETS[args.fleet])
    for utilisation in args.utilisation if args.rate is None else [0.0]:
        mix = Mix(
            requests=args.requests,
            utilisation=utilisation,
            bursty=args.bursty,
            oversized=args.oversized,
            seed=args.seed,
        )
        if args.rate is not None:
            mix = msgspec.structs.replace(mix, utilisation=args.rate * mix.mean_seconds() / fleet.power)
        yield draw(mix, fleet.power), fleet


def gateways(args: argparse.Namespace) -> Iterator[Options]:
    """Each way to set the gateway up."""
    policies = list(POLICIES) if "all" in args.policy else args.policy
    if args.early and args.gateways > 1:
        raise BadQuestion("--early is one gateway that hides its nodes' queues")
    if args.early and not set(policies) <= set(BLIND):
        raise BadQuestion(f"with --early nodes hide their queues; policies that can do without: {', '.join(BLIND)}")
    for policy in policies:
        for threshold in args.threshold or [None]:
            yield _options(args, policy, threshold)


def kinds(args: argparse.Namespace) -> tuple[Kind, Kind]:
    """What a light and a heavy node are; a node costs what it can do."""
    light = Kind(speed=args.light_speed, slots=args.slots, price=args.light_speed * args.slots)
    return light, Kind(speed=args.heavy_speed, slots=args.slots, price=args.heavy_speed * args.slots)


def conditions(args: argparse.Namespace) -> str:
    """What holds for all runs, for a title."""
    said = [flag.replace("_", " ") for flag in FLAGS if getattr(args, flag)]
    said += [f"{args.slow} slow"] if args.slow else []
    return ", ".join(said + ([f"{args.gateways} gateways"] if args.gateways > 1 else []))


def _options(args: argparse.Namespace, policy: str, threshold: int | None) -> Options:
    routing = Routing(
        policy=policy,
        oversize_adaptive=args.adaptive,
        spill_light_to_heavy=not args.walls,
        spill_heavy_to_light=not args.walls,
        slo_light_ms=args.slo_light,
        slo_heavy_ms=args.slo_heavy,
        **ENDLESS,
    )
    name = policy
    if threshold is not None:
        routing = msgspec.structs.replace(routing, oversize_pixels=threshold)
        name += f", {threshold / 1e6:g} MP"
    return Options(
        name=name,
        routing=routing,
        pools=not args.one_pool,
        early=args.early,
        shed=not args.no_shed,
        predict=args.predict or args.adaptive or threshold is not None,
        seed=args.seed,
        gateways=args.gateways,
        latency=args.latency * 1e-3,
    )


def _named(args: argparse.Namespace) -> FleetPlan | None:
    if args.light is None and args.heavy is None:
        return None
    return plan(args.light or 0, args.heavy or 0, *kinds(args))


def _slowed(args: argparse.Namespace, fleet: FleetPlan) -> FleetPlan:
    if not args.slow:
        return fleet
    pool, _, factor = args.slow.partition(":")
    try:
        return fleet.slowed(pool, float(factor))
    except ValueError as error:
        raise BadQuestion(f"--slow {args.slow}: POOL:FACTOR is wanted, heavy:3 for example") from error


def _check(args: argparse.Namespace) -> None:
    sizes = {"--requests": args.requests, "--slots": args.slots, "--faster": args.faster, "--gateways": args.gateways}
    for name, value in sizes.items():
        if value <= 0:
            raise BadQuestion(f"{name} must be above 0")
    if args.light is not None or args.heavy is not None:
        if (args.light or 0) + (args.heavy or 0) <= 0 or min(args.light or 0, args.heavy or 0) < 0:
            raise BadQuestion("a fleet needs a node")
        if min(args.light_speed, args.heavy_speed) <= 0:
            raise BadQuestion("speeds must be above 0")
    if args.rate is not None and args.rate <= 0:
        raise BadQuestion("--rate must be above 0")
    if any(value <= 0 for value in args.utilisation):
        raise BadQuestion("--utilisation must be above 0")
    if not 0 <= args.latency <= 1000:
        raise BadQuestion("--latency is milliseconds, up to 1000")
    if not 0 <= args.oversized <= 1:
        raise BadQuestion("--oversized is a share: 0 to 1")


__all__ = ["BadQuestion", "BadTrace", "Case", "add_arguments", "cases", "conditions", "gateways", "kinds", "loads"]
