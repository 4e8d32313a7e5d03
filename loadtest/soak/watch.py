"""What a gateway holds, seen from outside: its open files and memory from /proc, its own gauges from its metrics."""

from __future__ import annotations

import os
import re
from urllib.request import urlopen

import msgspec

from loadtest.peers import Peer


class Held(msgspec.Struct, frozen=True):
    """At one moment. `in_nodes` are leases: slots claimed for attempts; `queued` waits for one."""

    files: int
    resident_mib: float
    in_flight: int
    in_nodes: int
    queued: int


def held(peer: Peer, operators: str) -> Held:
    """What it holds now; `operators` is its operators' address."""
    with urlopen(f"http://{operators}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return Held(
        files=len(os.listdir(f"/proc/{peer.process.pid}/fd")),
        resident_mib=peer.resident_bytes() / (1 << 20),
        in_flight=_sum(text, "fleetgate_http_requests_in_flight"),
        in_nodes=_sum(text, "fleetgate_pool_in_flight"),
        queued=_sum(text, "fleetgate_pool_queue_depth"),
    )


def _sum(text: str, name: str) -> int:
    values = re.findall(rf"^{name}(?:\{{.*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
    if not values:
        raise LookupError(f"the gateway tells no {name}")
    return round(sum(map(float, values)))
