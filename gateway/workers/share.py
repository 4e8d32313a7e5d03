"""What of the gateway's limits each worker has. Pure.

What bounds memory, files or the fleet is divided, so that the configured number holds for the gateway as a whole. What
bounds one client is not: its connections need not be spread evenly.
"""

from __future__ import annotations

from math import ceil
from pathlib import PurePath

from msgspec.structs import replace

from gateway.config import GatewayConfig

_FEWEST_BYTES = 1 << 20


def share(config: GatewayConfig, number: int) -> GatewayConfig:
    """The configuration of worker `number` of config.workers.count; numbers begin at 1."""
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
        log=replace(
            log, access_rate=log.access_rate / count, trace=_own(log.trace, number) if count > 1 else log.trace
        ),
    )


def _own(trace: str, number: int) -> str:
    """Workers cannot rotate one file together."""
    path = PurePath(trace)
    return str(path.with_stem(f"{path.stem}-{number}")) if trace else ""
