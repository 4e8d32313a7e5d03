"""Traefik: p2c and leasttime of its file provider. It cannot route by Content-Length, so it has no split.

https://doc.traefik.io/traefik: services, `strategy`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from loadtest.peers.process import Wanted


def files(wanted: Wanted, port: int, threads: int) -> dict[str, str]:  # noqa: ARG001 - threads are set by GOMAXPROCS
    """Static and dynamic configuration; JSON is YAML."""
    if wanted.split_bytes:
        raise ValueError("Traefik cannot route by Content-Length")
    servers = [{"url": f"http://{t.host}:{t.port}"} for t in wanted.targets]
    timeouts = {"readTimeout": 0, "writeTimeout": 0, "idleTimeout": "180s"}
    static = {
        "log": {"level": "ERROR"},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "entryPoints": {"public": {"address": f"127.0.0.1:{port}", "transport": {"respondingTimeouts": timeouts}}},
        "providers": {"file": {"filename": "{folder}/dynamic.yml", "watch": False}},
        "serversTransport": {"maxIdleConnsPerHost": 256},
    }
    balancer = {"strategy": wanted.policy, "servers": servers}
    dynamic = {
        "http": {
            "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "fleet", "entryPoints": ["public"]}},
            "services": {"fleet": {"loadBalancer": balancer}},
        }
    }
    return {"traefik.yml": json.dumps(static).replace("{folder}/", ""), "dynamic.yml": json.dumps(dynamic)}


def command(threads: int) -> tuple[list[str], dict[str, str]]:
    """The program of the wheel."""
    program = Path(sys.executable).parent / "traefik"
    return [str(program), "--configFile={folder}/traefik.yml"], {"GOMAXPROCS": str(threads)}
