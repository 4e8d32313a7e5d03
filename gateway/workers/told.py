"""What parent and worker tell each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from prometheus_client.core import Metric

from gateway.config import GatewayConfig
from gateway.dashboard.document import Document
from gateway.dashboard.news import Brief
from gateway.journal import Dot
from gateway.windows import Slot

STREAM_PATH, FAMILIES_PATH = "/worker/stream", "/worker/families"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with, on its standard input."""

    config: GatewayConfig
    number: int
    sockets: list[int]  # listening file descriptors that it inherits
    operators: str  # path of the socket where it serves its operator side
    loads: str  # path of what all workers' connections are told in
    place: int  # ours in it
    at_once: bool  # take in clients before the registry has answered


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line from the parent to a running worker."""

    do: str  # open, leave, configure
    grace: float = 0.0  # leave: seconds that idle clients may come once more
    config: GatewayConfig | None = None  # configure: of which only what can change at run time is taken


class Registry(msgspec.Struct, frozen=True):
    """How a worker stands with the registry: registry_state.RegistryState as values."""

    answered: bool
    stale: str
    since: float
    changed: float
    updates: int
    failures: dict[str, int]


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What is new in a worker's journal. Events are left out: the parent sees them in the document itself."""

    errors: list[Brief] = []
    refusals: list[Brief] = []
    mistakes: list[Brief] = []
    decisions: list[Brief] = []
    light_dots: list[Dot] = []
    heavy_dots: list[Dot] = []


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One line of an exposition."""

    name: str
    labels: dict[str, str]
    value: float
    exemplar: tuple[dict[str, str], float, float | None] | None


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric of an exposition."""

    name: str
    text: str
    kind: str
    samples: list[Sample]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells its parent at every beat. With `families` it is its last word."""

    document: Document
    slots: list[Slot]
    news: News
    registry: Registry
    prediction_errors: dict[str, float]
    families: list[Family] | None = None


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """prometheus_client's families as values."""
    return [
        Family(metric.name, metric.documentation, metric.type, [_sample(each) for each in metric.samples])
        for metric in metrics
    ]


def _sample(sample: Any) -> Sample:
    mark = sample.exemplar
    exemplar = (mark.labels, mark.value, mark.timestamp) if mark is not None else None
    return Sample(sample.name, sample.labels, sample.value, exemplar)


encode = msgspec.msgpack.Encoder().encode
decode_told = msgspec.msgpack.Decoder(Told).decode
decode_families = msgspec.msgpack.Decoder(list[Family]).decode
