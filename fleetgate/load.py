"""`fleetgate load URL`: requests at set rates whatever the answers, and latencies as users feel them."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from loadtest.calls import PROTOCOLS
from loadtest.gate import Slo, judge
from loadtest.headers import BadHeader, own_headers
from loadtest.images import Photo, photos
from loadtest.openloop import words
from loadtest.openloop.address import BadTarget, parse
from loadtest.openloop.mix import SIZE_CLASSES, BadMix, Mix, any_label, own_photos, weights
from loadtest.openloop.results import LoadRun
from loadtest.openloop.run import CannotLoad, Order, load
from loadtest.report.load_page import page
from loadtest.schedule import SCHEDULES
from loadtest.table import of_tallies

EXAMPLES = """\
examples:
  fleetgate load http://127.0.0.1:8080 --rate 50 --seconds 60
  fleetgate load http://127.0.0.1:8080 --rate 200 --schedule knee --html knee.html
  fleetgate load https://photos.example --rate 20 --image my/*.jpg --key "$KEY" --json monday.json
  fleetgate report monday.json tuesday.json
"""


def add_parser(subparsers: Any) -> None:
    """The command's flags."""
    parser = subparsers.add_parser(
        "load",
        help="send requests at set rates, measure as users feel it",
        description="Send requests at set rates whatever the answers (open loop). Latency counts from when a request "
        "was due, so that waiting is not hidden; beside it stands what a tool tells that counts from its own send. "
        "Exit code 1: a goal was missed, or there was nothing to measure.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="http://host:port; a path replaces /v1/predict")
    parser.add_argument("--rate", type=_positive, default=20.0, metavar="N", help="peak, requests a second (20)")
    parser.add_argument("--seconds", type=_positive, default=30.0, metavar="S", help="length of the schedule (30)")
    parser.add_argument("--schedule", choices=list(SCHEDULES), default="steady", help="how the rate moves (steady)")
    parser.add_argument("--knee-ms", type=_positive, default=1000.0, metavar="MS", help="knee: p99 of small photos")
    parser.add_argument("--even", action="store_true", help="evenly spaced arrivals instead of independent users'")
    _add_what(parser.add_argument_group("what is sent"))
    _add_how(parser.add_argument_group("how"))
    _add_results(parser.add_argument_group("results"))


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--mix", default="small=95,oversized=5", help="shares of size classes (small=95,oversized=5)")
    group.add_argument("--protocols", default="plain", help=f"shares of {', '.join(PROTOCOLS)} (plain)")
    group.add_argument("--image", type=Path, nargs="+", metavar="FILE", help="own images instead of the shipped photos")
    group.add_argument("--any-label", action="store_true", help="do not check labels: the target serves another model")
    group.add_argument("--model", default="", help="a model's name, where the target serves several")
    group.add_argument("--seed", type=int, default=1, help="of arrivals, mix and photos (1)")


def _add_how(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--key", default=os.environ.get("FLEETGATE_KEY", ""), help="X-Api-Key; or FLEETGATE_KEY")
    group.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="any other, as Authorization: Bearer …"
    )
    group.add_argument("--deadline-ms", type=_positive, metavar="MS", help="sent as X-Request-Timeout-Ms")
    group.add_argument(
        "--timeout", type=_positive, default=60.0, metavar="S", help="then a request counts as lost (60)"
    )
    group.add_argument("--connections", type=int, default=200, metavar="N", help="at once, at most (200)")
    group.add_argument("--ca", type=Path, metavar="FILE", help="CA of the target's certificate")


def _add_results(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--json", type=Path, metavar="FILE", help="write the result, for `fleetgate report`")
    group.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")
    group.add_argument("--slo-small-ms", type=float, default=0.0, metavar="MS", help="goal: p95 of small photos")
    group.add_argument("--slo-oversized-ms", type=float, default=0.0, metavar="MS", help="goal: p95 of oversized ones")
    group.add_argument("--slo-failures", type=float, default=1.0, metavar="SHARE", help="goal: not served, 0 to 1")


def run(args: argparse.Namespace) -> int:
    """0 well, 1 a goal was missed or nothing could be measured, 2 called wrongly."""
    try:
        order = _order(args)
        mix = Mix(_photos(args), order.classes, order.protocols, args.model)
    except (BadHeader, BadMix, BadTarget) as error:
        print(f"fleetgate load: {error}", file=sys.stderr)
        return 2
    try:
        result = uvloop.run(load(order, mix, lambda line: print(line, flush=True)))
    except (CannotLoad, BadTarget) as error:
        print(f"fleetgate load: {error}", file=sys.stderr)
        return 1
    words.show(result)
    _write(args, result)
    return _gate(result, Slo(args.slo_small_ms, args.slo_oversized_ms, args.slo_failures))


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _order(args: argparse.Namespace) -> Order:
    if args.connections < 1:
        raise BadMix("--connections must be 1 or more")
    headers = "".join(f"{name}: {value}\r\n" for name, value in own_headers(args.key, args.header).items())
    if args.deadline_ms:
        headers += f"X-Request-Timeout-Ms: {args.deadline_ms:.0f}\r\n"
    classes = weights(args.mix, SIZE_CLASSES)
    if args.image:
        found = own_photos(args.image)
        classes = {name: share for name, share in classes.items() if name in found} or dict.fromkeys(found, 1.0)
    return Order(
        target=parse(args.url),
        classes=classes,
        protocols=weights(args.protocols, list(PROTOCOLS)),
        rate=args.rate,
        seconds=args.seconds,
        schedule=args.schedule,
        poisson=not args.even,
        seed=args.seed,
        connections=args.connections,
        patience_seconds=args.timeout,
        knee_ms=args.knee_ms,
        headers=headers,
        ca=args.ca,
    )


def _photos(args: argparse.Namespace) -> dict[str, list[Photo]]:
    if args.image:
        return own_photos(args.image)
    made = photos(args.seed)
    return any_label(made) if args.any_label else made


def _write(args: argparse.Namespace, result: LoadRun) -> None:
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    if args.html:
        args.html.write_text(page(result))


def _gate(result: LoadRun, slo: Slo) -> int:
    missed = judge(of_tallies(result.by_class, result.seconds), slo)
    if result.doubtful and slo != _NO_GOALS:
        missed.append("the client was the limit, so no goal can be said to be met")
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


_NO_GOALS = Slo(failures=1.0)
