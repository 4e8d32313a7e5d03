"""Reads Consul's answer to "who serves this?" (pure): entries to instances, headers to trust and index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from discovery.facts import distinct, shown, to_instance
from discovery.instance import Instance, Status

MAX_CONTACT_MS = 10_000  # a server that has not heard of its leader for longer may know nothing new


class _Node(msgspec.Struct, rename="pascal"):
    address: str = ""


class _Service(msgspec.Struct, rename="pascal"):
    id: str = msgspec.field(name="ID")
    port: int = 0
    address: str = ""
    meta: dict[str, str] | None = None


class _Check(msgspec.Struct, rename="pascal"):
    check_id: str = msgspec.field(name="CheckID", default="")
    status: str = ""


class _Entry(msgspec.Struct, rename="pascal"):
    service: _Service
    node: _Node = msgspec.field(default_factory=_Node)
    checks: list[_Check] | None = None


class Listing(NamedTuple):
    """Who is there, and the entries that could not be read, each with why."""

    instances: frozenset[Instance]
    refused: list[str]


def read_listing(body: bytes) -> Listing:
    """Every readable entry; one bad entry never costs the others. Raises msgspec.DecodeError for no JSON list."""
    instances: list[Instance] = []
    refused: list[str] = []
    for number, raw in enumerate(msgspec.json.decode(body, type=list[msgspec.Raw])):
        try:
            instances.append(_instance(raw))
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            refused.append(f"entry {number}: {shown(str(error))}")
    return Listing(distinct(instances), refused)


def _instance(raw: msgspec.Raw) -> Instance:
    entry = msgspec.json.decode(raw, type=_Entry)
    service = entry.service
    return to_instance(
        service.address or entry.node.address,  # a service without an address lives at its agent's
        service.port,
        service.meta or {},
        id=service.id,
        status=worst(entry.checks or []),
    )


def worst(checks: list[_Check]) -> Status:
    """The worst of all checks: the service's own, its node's (serfHealth) and maintenance of either."""
    if any(check.check_id.startswith(("_service_maintenance", "_node_maintenance")) for check in checks):
        return Status.MAINTENANCE
    states = {check.status for check in checks}
    if states - {Status.PASSING, Status.WARNING}:
        return Status.CRITICAL
    return Status.WARNING if Status.WARNING in states else Status.PASSING


def doubt(headers: Mapping[str, str], *, empty: bool) -> str:
    """Why this answer is not to be believed; empty when it is.

    An agent that streams says "no known leader" of good answers too (consul issue 9776), and says that it streams.
    """
    streaming = headers.get("X-Consul-Query-Backend", "") == "streaming"
    if headers.get("X-Consul-KnownLeader", "true") == "false" and not streaming:
        return "Consul knows no leader"
    contact = headers.get("X-Consul-LastContact", "0")
    if contact.isascii() and contact.isdigit() and int(contact[:12]) > MAX_CONTACT_MS:
        return "Consul's server lost its leader long ago"
    if empty and headers.get("X-Consul-Results-Filtered-By-ACLs", "") == "true":
        return "the token may not see the service"
    return ""


def read_index(headers: Mapping[str, str]) -> int:
    """The answer's index; raises ValueError without one."""
    text = headers.get("X-Consul-Index", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError(f"Consul's answer has no index: {shown(text)}")
    return int(text)


def next_index(asked: int, answered: int) -> int:
    """What to wait for next; 0 asks for everything at once.

    HashiCorp's rules for blocking queries: backwards means that the server lost its state, so start over;
    never wait on less than 1, which would not block.
    """
    return 0 if answered < asked else max(answered, 1)
