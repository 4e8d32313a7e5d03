"""Who competes: fleetgate as it comes, and each proxy with each of its policies, on one pool and split in two."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.config import Routing
from loadtest.compare import images
from loadtest.compare.ports import Ports
from loadtest.peers import PEERS, Peer, Target, Wanted, start

ROOT = Path(__file__).resolve().parents[2]
LIGHT_MS, HEAVY_MS = 250.0, 2500.0  # the targets, fleetgate's own defaults
OVERSIZE_PIXELS = 8_000_000
# Each program's best policy inside pools; Traefik knows no Content-Length.
SPLIT = ("haproxy leastconn", "envoy full_scan", "nginx least_conn")
SPLIT_BYTES = images.body_bytes(OVERSIZE_PIXELS)


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A program set up in one way. `split`: its static split by Content-Length. `queue`: requests wait in the proxy's
    own queue until a node is free, small ones first, no longer than their target."""

    name: str
    program: str
    policy: str = ""
    split: bool = False
    queue: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is the one to prove."""
        return self.program == "fleetgate"

    @property
    def waiting(self) -> int | None:
        """How many a node lets wait before it refuses: our nodes' default; others would take that for an error."""
        return 16 if self.ours else None

    def start(self, targets: Sequence[Target], scale: float, ports: Ports) -> Peer:
        """Ready to be entered."""
        if self.ours:
            return _fleetgate(targets, scale, ports)
        wanted = Wanted(
            targets,
            self.policy,
            split_bytes=SPLIT_BYTES if self.split else 0,
            slots=self.queue,
            first_bytes=SPLIT_BYTES if self.queue else 0,
            queue_ms=(round(LIGHT_MS * scale), round(HEAVY_MS * scale)) if self.queue else None,
        )
        return start(self.program, wanted)


def _table() -> dict[str, Contender]:
    found = [Contender(name="fleetgate", program="fleetgate")]
    for name, (program, policy) in PEERS.items():
        found.append(Contender(name=name, program=program, policy=policy))
        if name in SPLIT:
            found.append(Contender(name=f"{name} split", program=program, policy=policy, split=True))
    for split in (False, True):
        name = f"haproxy queue{' split' if split else ''}"
        found.append(Contender(name=name, program="haproxy", policy="leastconn", queue=True, split=split))
    return {each.name: each for each in found}


def _fleetgate(targets: Sequence[Target], scale: float, ports: Ports) -> Peer:
    port, operators = ports.take(2)
    nodes = ",".join(
        f"{t.host}:{t.port}/{t.pool}?capacity={t.slots}&models=toy@1&speed={t.speed}&max_pixels=1000000000"
        for t in targets
    )
    options = {
        "listen.port": port,
        "operator.port": operators,
        "registry.url": f"static:{nodes}",
        "log.level": "warning",
        "limits.connections_per_client": 20_000,  # all load comes from one address here
        "limits.connections": 20_000,
    }
    if scale != 1.0:
        options |= {
            "routing.prefetch_lead": Routing().prefetch_lead * scale,
            "routing.slo_light_ms": LIGHT_MS * scale,
            "routing.slo_heavy_ms": HEAVY_MS * scale,
        }
    sets = [part for key, value in options.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "fleetgate", "gateway", *sets]
    return Peer("fleetgate", port, {}, command, environ={"PYTHONPATH": str(ROOT)})


CONTENDERS = _table()
