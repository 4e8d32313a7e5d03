"""Instances as flat strings and back (pure): Consul's Meta, a static list; what a hostile registry may not say.

Whatever comes from a registry is input. Markup stays data; what could break a log line, a header, a URL or
arithmetic is refused with the reason.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Iterator, Mapping

from discovery.instance import Instance, Status

META_LENGTH = 512  # Consul's limit for one value
POOLS = ("light", "heavy")
PROTOCOLS = ("fleetgate", "oip")
MODEL = re.compile(r"[^/\s,]{1,255}")  # a model's name holds no slash (WIRE); a comma separates models
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
WHOLE = re.compile(r"[0-9]{1,13}", re.ASCII)
DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?", re.ASCII)
RANK = (Status.PASSING, Status.WARNING, Status.CRITICAL, Status.MAINTENANCE)  # from good to worst


def instance_id(service: str, host: str, port: int) -> str:
    """`<service>-<host>-<port>`: unique in the fleet, the same after a restart."""
    return f"{service}-{host}-{port}"


def to_facts(instance: Instance) -> dict[str, str]:
    """What machines want to know of an instance, as Consul's Meta takes it."""
    return {
        "pool": instance.pool,
        **_chunked(instance.models),
        "capacity": str(instance.capacity),
        "max_pixels": str(instance.max_pixels),
        "device": instance.device,
        "speed": f"{instance.speed:.6f}",
        "protocol": instance.protocol,
        "tls": "true" if instance.tls else "false",
    }


def _chunked(models: Iterable[str]) -> dict[str, str]:
    """`models`, then `models2`, … when one value cannot hold them all."""
    chunks = [""]
    for model in models:
        if chunks[-1] and len(chunks[-1]) + 1 + len(model) > META_LENGTH:
            chunks.append("")
        chunks[-1] += f",{model}" if chunks[-1] else model
    return {f"models{number if number > 1 else ''}": chunk for number, chunk in enumerate(chunks, 1)}


def to_instance(
    host: str, port: int, facts: Mapping[str, str], *, id: str, status: Status = Status.PASSING
) -> Instance:
    """The instance these facts tell of; a missing fact has Instance's default, a bad one raises ValueError."""
    known: dict[str, object] = {name: facts[name] for name in ("pool", "device", "protocol") if name in facts}
    models = [model for name in _models_in(facts) for model in facts[name].split(",") if model]
    for name in ("capacity", "max_pixels"):
        if name in facts:
            known[name] = _whole(name, facts[name])
    if "speed" in facts:
        known["speed"] = _decimal("speed", facts["speed"])
    if "tls" in facts:
        known["tls"] = _boolean("tls", facts["tls"])
    return checked(
        Instance(id=id, host=host, port=port, status=status, models=tuple(models), **known)  # type: ignore[arg-type]
    )


def _models_in(facts: Mapping[str, str]) -> Iterator[str]:
    """The chunks in their order."""
    name, number = "models", 1
    while name in facts:
        yield name
        number += 1
        name = f"models{number}"


def _whole(name: str, text: str) -> int:
    if not WHOLE.fullmatch(text):
        raise ValueError(f"{name} is no whole number: {shown(text)}")
    return int(text)


def _decimal(name: str, text: str) -> float:
    if not DECIMAL.fullmatch(text):
        raise ValueError(f"{name} is no number: {shown(text)}")
    return float(text)


def _boolean(name: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f"{name} is neither true nor false: {shown(text)}")
    return text == "true"


def checked(instance: Instance) -> Instance:
    """The instance itself, if all it says can be true; else ValueError with the first thing that cannot."""
    rules = (
        (0 < len(instance.id) <= 400 and instance.id.isprintable(), "id", instance.id),
        (valid_host(instance.host), "host", instance.host),
        (1 <= instance.port <= 65535, "port", instance.port),
        (instance.pool in POOLS, "pool", instance.pool),
        (instance.protocol in PROTOCOLS, "protocol", instance.protocol),
        (1 <= instance.capacity <= 65535, "capacity", instance.capacity),
        (1 <= instance.max_pixels <= 10**12, "max_pixels", instance.max_pixels),
        (math.isfinite(instance.speed) and 0.001 <= instance.speed <= 1000, "speed", instance.speed),
        (0 < len(instance.device) <= 64 and instance.device.isprintable(), "device", instance.device),
        (len(instance.models) <= 1000 and all(map(_valid_model, instance.models)), "models", instance.models),
    )
    for holds, name, value in rules:
        if not holds:
            raise ValueError(f"{name} cannot be {shown(value)}")
    return instance


def _valid_model(model: str) -> bool:
    return bool(MODEL.fullmatch(model)) and model.isprintable()


def valid_host(host: str) -> bool:
    """An IP address without a zone, or a host name as containers have (underscores too)."""
    if HOST_NAME.fullmatch(host):
        return True
    try:
        return "%" not in host and bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def distinct(instances: Iterable[Instance]) -> frozenset[Instance]:
    """One instance per id; of two, the one in better standing (a node that moved to another agent is listed twice)."""
    best: dict[str, Instance] = {}
    for instance in sorted(instances, key=lambda one: (RANK.index(one.status), one.host, one.port)):
        best.setdefault(instance.id, instance)
    return frozenset(best.values())


def shown(value: object) -> str:
    """Short and on one line, whatever it is: for logs and error texts."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
