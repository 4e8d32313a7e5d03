"""What of the gateway's limits each worker has. Pure.

What bounds memory, files or the fleet is divided, so that the configured number holds for the gateway as a whole. What
bounds one client is not: its connections need not be spread evenly.
"""

from __future__ import annotations

from math import ceil

from msgspec.structs import replace

from gateway.config import GatewayConfig

_FEWEST_BYTES = 1 << 20


def share(config: GatewayConfig) -> GatewayConfig:
    """The configuration of each of config.workers.count workers."""
    count = config.workers.count
    limits, routing, retry, log = config.limits, config.routing, config.retry, config.log
    return replace(
        config,
        limits=replace(
            limits,
            connections=ceil(limits.connections / count),
            buffered_bytes=max(_FEWEST_BYTES, limits.buffered_bytes // count),
        ),
        routing=replace(
            routing,
            queue_requests=ceil(routing.queue_requests / count),
            queue_bytes=routing.queue_bytes // count,
        ),
        retry=replace(retry, budget_min=retry.budget_min / count),
        log=replace(log, access_rate=log.access_rate / count),
    )
