"""What an operator sees of one node: numbers and words, no behaviour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.backend import Backend


class BackendView(msgspec.Struct, frozen=True, kw_only=True):
    """One node on the page and in `/api/fleet`. Durations are as the names say."""

    id: str
    address: str
    pool: str
    state: str
    since_seconds: float  # how long it has been so
    why: str
    registry: str  # the registry's word, "absent" when unlisted
    usable: bool  # whether new requests may go there now
    in_flight: int
    capacity: int
    sent_ahead: int  # of those in flight, waiting at the node
    others: int  # requests of other gateways, by the node's own word
    gateways: int  # that it serves, this one included; 0 when it does not say
    node_queue: int  # as reported
    work_ms: float  # ours, not yet finished
    free_ms: float  # until a slot is predicted free
    speed: float
    speed_announced: float
    weight: float
    lag_ms: float  # lost beyond service time, above the ordinary
    service_ms: float
    requests: int
    answers: int
    errors: int
    error_share: float  # of recent answers
    traffic_share: float  # of all requests of the last half minute
    failures: int  # consecutive
    ejections: int
    models: tuple[str, ...]
    max_pixels: int
    device: str
    protocol: str
    probe: str  # passed | failed | unknown
    probe_failures: int
    probe_seconds: float  # since the last probe
    last_error: str
    last_error_seconds: float  # since then; 0 without an error


def view(backend: Backend, now: float, total_rate: float) -> BackendView:
    """The page's row for one backend; `total_rate` is the sum of all backends' recent requests."""
    standing, instance = backend.standing, backend.instance
    return BackendView(
        id=backend.id,
        address=instance.address,
        pool=backend.pool,
        state=standing.state.value,
        since_seconds=max(0.0, now - standing.since),
        why=standing.why,
        registry=standing.status.value if standing.listed else "absent",
        usable=backend.usable,
        in_flight=backend.in_flight,
        capacity=backend.capacity,
        sent_ahead=len(backend.waiting),
        others=backend.foreign,
        gateways=backend.gateways,
        node_queue=backend.reported_queue,
        work_ms=backend.work_ms,
        free_ms=backend.free_in(now) * 1e3,
        speed=backend.speed,
        speed_announced=backend.nominal,
        weight=backend.weight,
        lag_ms=backend.lag * 1e3,
        service_ms=backend.service_ms,
        requests=backend.requests,
        answers=backend.answers,
        errors=backend.errors,
        error_share=backend.error_share,
        traffic_share=backend.rate_now(now) / total_rate if total_rate > 0.0 else 0.0,
        failures=standing.failures,
        ejections=standing.ejections,
        models=instance.models,
        max_pixels=backend.max_pixels,
        device=instance.device,
        protocol=instance.protocol,
        probe={None: "unknown", True: "passed", False: "failed"}[standing.probed],
        probe_failures=standing.probe_failures,
        probe_seconds=max(0.0, now - standing.probe_at),
        last_error=standing.last_error,
        last_error_seconds=max(0.0, now - standing.last_error_at) if standing.last_error else 0.0,
    )
