"""Every peer with every policy of its own that fits this job, by name."""

from __future__ import annotations

import socket

from loadtest.peers import envoy, haproxy, nginx, traefik
from loadtest.peers.process import Peer, Wanted

# name → program, its word for the policy
PEERS: dict[str, tuple[str, str]] = {
    "haproxy leastconn": ("haproxy", "leastconn"),
    "envoy least_request": ("envoy", "least_request"),
    "envoy full_scan": ("envoy", "least_request_full_scan"),
    "envoy weighted": ("envoy", "least_request_weighted"),
    "envoy orca": ("envoy", "client_side_weighted_round_robin"),
    "nginx least_conn": ("nginx", "least_conn"),
    "traefik p2c": ("traefik", "p2c"),
    "traefik leasttime": ("traefik", "leasttime"),
}


def start(program: str, wanted: Wanted, *, threads: int = 1, core: int | None = None) -> Peer:
    """A peer ready to be entered: `with start("envoy", wanted) as peer`. `core` pins it."""
    port = _free_port()
    if program == "haproxy":
        files, (command, environ) = haproxy.files(wanted, port, threads), haproxy.command()
    elif program == "nginx":
        files, (command, environ) = nginx.files(wanted, port, threads), nginx.command()
    elif program == "envoy":
        files, (command, environ) = envoy.files(wanted, port, threads), envoy.command(threads)
    else:
        files, (command, environ) = traefik.files(wanted, port, threads), traefik.command(threads)
    return Peer(program, port, files, command, core, environ)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
