"""Every proxy of the comparison, in front of the same backends."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.peers import Peer, Target, Wanted, start

COMPILED, SOURCE = "fleetgate", "fleetgate from source"
NAMES = (COMPILED, SOURCE, "haproxy", "envoy", "nginx", "traefik", "aiohttp")
# Each one's answer to "the least loaded".
POLICIES = {"haproxy": "leastconn", "envoy": "least_request", "nginx": "least_conn", "traefik": "p2c"}
ROOT = Path(__file__).resolve().parents[2]
_COMPILED_TREE = ROOT / "var" / "compiled"  # as the gateway's image has it


def contender(name: str, ports: Sequence[int], workers: int, core: int | None) -> Peer:
    """A proxy ready to be entered. fleetgate runs as it comes: routing, limits, metrics, all on.

    Raises FileNotFoundError when it is to run compiled and nobody has compiled it.
    """
    if name in (COMPILED, SOURCE):
        return fleetgate(ports, workers, core, name)[0]
    if name == "aiohttp":
        port = _free_port()
        command = [sys.executable, "-m", "loadtest.proxy.floor", str(port), f"127.0.0.1:{ports[0]}"]
        return Peer(name, port, {}, command, core, {"PYTHONPATH": str(ROOT)})
    targets = [Target("127.0.0.1", port, slots=1000) for port in ports]
    return start(name, Wanted(targets, POLICIES[name]), threads=workers, core=core)


def fleetgate(ports: Sequence[int], workers: int, core: int | None, name: str = SOURCE) -> tuple[Peer, str]:
    """Our own gateway as it comes, before nodes on these ports; and its operators' address."""
    tree = _COMPILED_TREE if name == COMPILED else ROOT
    if not tree.is_dir():
        raise FileNotFoundError("the gateway is not compiled: make compiled")
    port, operators = _free_port(), _free_port()
    nodes = ",".join(f"127.0.0.1:{p}/light?capacity=1000&models=toy@1" for p in ports)
    options = {
        "listen.port": port,
        "operator.port": operators,
        "registry.url": f"static:{nodes}",
        "log.level": "warning",
        "limits.connections_per_client": 20_000,  # all load comes from one address here
        "limits.connections": 20_000,
    }
    sets = [part for key, value in options.items() for part in ("--set", f"{key}={value}")]
    more = ["--workers", str(workers)] if workers > 1 else []
    command = [sys.executable, "-m", "fleetgate", "gateway", *sets, *more]
    return Peer(name, port, {}, command, core, {"PYTHONPATH": str(tree)}), f"127.0.0.1:{operators}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
