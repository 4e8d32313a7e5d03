"""Envoy: LEAST_REQUEST (two choices or full scan), and round robin weighted by the load that nodes report (ORCA).

https://www.envoyproxy.io/docs: load_balancing_policies; limits raised so that no circuit breaker decides for us.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loadtest.peers.process import Wanted

_TYPE = "type.googleapis.com/envoy.extensions"
_POLICIES: dict[str, dict[str, Any]] = {
    "least_request": {"choice_count": 2},
    "least_request_full_scan": {"selection_method": "FULL_SCAN"},
    "least_request_weighted": {},
    "client_side_weighted_round_robin": {"blackout_period": "1s", "weight_update_period": "0.1s"},
    "round_robin": {},
}
_WEIGHTED = ("round_robin", "least_request_weighted")
_KINDS = {
    "least_request": "LeastRequest",
    "client_side_weighted_round_robin": "ClientSideWeightedRoundRobin",
    "round_robin": "RoundRobin",
}


def files(wanted: Wanted, port: int, threads: int) -> dict[str, str]:  # noqa: ARG001 - threads are a flag
    """The configuration."""
    pools = ("light", "heavy") if wanted.split_bytes else ("light",)
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes(wanted)}]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}}
        ],
    }
    listener = {
        "address": _address("127.0.0.1", port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    resources = {"listeners": [listener], "clusters": [_cluster(wanted, pool) for pool in pools]}
    return {"envoy.json": json.dumps({"static_resources": resources})}


def command(threads: int) -> tuple[list[str], dict[str, str]]:
    """The program of the wheel."""
    spec = find_spec("envoy")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "_bin" / "envoy"
    flags = ["--disable-hot-restart", "--concurrency", str(threads), "-l", "warning"]
    return [str(program), "-c", "{folder}/envoy.json", *flags], {}


def _routes(wanted: Wanted) -> list[dict[str, Any]]:
    timeout = f"{wanted.timeout_seconds}s"
    light = {"match": {"prefix": "/"}, "route": {"cluster": "light", "timeout": timeout}}
    if not wanted.split_bytes:
        return [light]
    longer = {"name": "content-length", "range_match": {"start": wanted.split_bytes + 1, "end": 1 << 40}}
    return [{"match": {"prefix": "/", "headers": [longer]}, "route": {"cluster": "heavy", "timeout": timeout}}, light]


def _cluster(wanted: Wanted, pool: str) -> dict[str, Any]:
    kind = wanted.policy.removesuffix("_full_scan").removesuffix("_weighted")
    policy = {
        "name": f"envoy.load_balancing_policies.{kind}",
        "typed_config": {
            "@type": f"{_TYPE}.load_balancing_policies.{kind}.v3.{_KINDS[kind]}",
            **_POLICIES[wanted.policy],
        },
    }
    endpoints = [
        {
            "endpoint": {"address": _address(t.host, t.port)},
            # FULL_SCAN and two choices work on equal weights only; unequal ones make it a weighted round robin that
            # divides weights by active requests.
            **({"load_balancing_weight": max(1, round(t.speed * 50))} if wanted.policy in _WEIGHTED else {}),
        }
        for t in wanted.pool(pool)
    ]
    unlimited = {"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}
    return {
        "name": pool,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_balancing_policy": {"policies": [{"typed_extension_config": policy}]},
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {"cluster_name": pool, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
