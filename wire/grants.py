"""What gateways and a node say to each other about the node's slots, a line of JSON each, on a stream of their own.

A gateway opens the stream with `POST /fleetgate/v1/grants`; body and answer stay open, each a sequence of lines.
Clocks of machines differ, so only spans are said: milliseconds, counted from when the line was written.
"""

from __future__ import annotations

from math import isfinite
from typing import TypeVar

import msgspec

PATH = "/fleetgate/v1/grants"
# Who opens a stream; and on a request which gateway sends it, by which grant (0: none), and what it should cost.
GATEWAY = "X-Fleetgate-Gateway"
GRANT = "X-Fleetgate-Grant"
LONGEST = 65_536  # bytes of a line: a node of a thousand slots fits
BEAT_SECONDS = 5.0  # between the gateway's beats, each of which the node answers
SILENT_SECONDS = 15.0  # after which the other side is taken for gone
_MOST_MS = 3_600_000.0


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """May this request come, though no slot is free or others may want it too? `age_ms` is how old its key is."""

    number: int
    age_ms: float
    cost_ms: float  # expected service time on this node
    heavy: bool


class Drop(msgspec.Struct, frozen=True, array_like=True, tag="drop"):
    """An ask, or a grant that came of it, that is not needed any more."""

    number: int


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """Still there? The answer is the same."""


class Yes(msgspec.Struct, frozen=True, array_like=True, tag="yes"):
    """Send it, with this number in its head."""

    number: int


class No(msgspec.Struct, frozen=True, array_like=True, tag="no"):
    """Somebody more urgent got the place."""

    number: int


class Others(msgspec.Struct, frozen=True, array_like=True, tag="others"):
    """How many gateways there are, and in how many milliseconds each request of the others should be done."""

    gateways: int
    light_ms: list[float]
    heavy_ms: list[float]


class Label(msgspec.Struct, frozen=True, array_like=True):
    """What a request says of itself on its way to a node that several gateways use."""

    gateway: str
    number: int
    cost_ms: float
    heavy: bool


Asking = Ask | Drop | Beat
Granting = Yes | No | Others | Beat
Said = TypeVar("Said")

_ENCODER = msgspec.json.Encoder()
_ASKING: msgspec.json.Decoder[Asking] = msgspec.json.Decoder(Asking)
_GRANTING: msgspec.json.Decoder[Granting] = msgspec.json.Decoder(Granting)


def encode(message: Asking | Granting) -> bytes:
    """A line."""
    return _ENCODER.encode(message) + b"\n"


def read_asking(line: bytes) -> Asking:
    """What a gateway says; raises ValueError for what is no such line."""
    said = _decoded(_ASKING, line)
    if isinstance(said, Ask):
        _check((said.age_ms, said.cost_ms), lowest=-_MOST_MS)
    return said


def read_granting(line: bytes) -> Granting:
    """What a node says; raises ValueError for what is no such line."""
    said = _decoded(_GRANTING, line)
    if isinstance(said, Others):
        _check(said.light_ms, 0.0)
        _check(said.heavy_ms, 0.0)
        if said.gateways < 1:
            raise ValueError("a stream's other end counts at least one gateway")
    return said


def label(gateway: str, number: int, cost_ms: float, heavy: bool) -> str:
    """The header's value."""
    return f"{gateway} {number} {cost_ms:.1f} {'heavy' if heavy else 'light'}"


def read_label(value: str) -> Label | None:
    """None for what is no label."""
    parts = value.split(" ")
    try:
        gateway, number, cost_ms = parts[0], int(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        return None
    if len(parts) != 4 or not 0 <= number < 1 << 53 or not 0.0 <= cost_ms <= _MOST_MS:
        return None
    return Label(gateway[:64], number, cost_ms, parts[3] == "heavy")


def _decoded(decoder: msgspec.json.Decoder[Said], line: bytes) -> Said:
    try:
        return decoder.decode(line)
    except RecursionError as error:
        raise ValueError("a line nested without end") from error


def _check(values: tuple[float, ...] | list[float], lowest: float) -> None:
    if not all(isfinite(value) and lowest <= value <= _MOST_MS for value in values):
        raise ValueError("milliseconds beyond all reason")
