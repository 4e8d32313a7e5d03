"""Small fleets and tickets for tests of the pure routing code."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from discovery.instance import Instance, Snapshot, Status
from gateway.config import Health, Routing
from gateway.costs import Costs
from gateway.fleet import Fleet
from gateway.lease import Lease
from gateway.scheduler import Scheduler
from gateway.ticket import Ticket
from wire.errors import WireError

MODEL = "m@1"


def node(name: str, **facts: object) -> Instance:
    """An instance that announces one model; its pool is heavy when its name begins with h."""
    pool = "heavy" if name.startswith("h") else "light"
    known: dict[str, object] = {"id": name, "host": "127.0.0.1", "port": 9000, "pool": pool, "models": (MODEL,)}
    return Instance(**{**known, **facts})  # type: ignore[arg-type]


def snapshot(*instances: Instance, stale: str = "") -> Snapshot:
    """What a registry says."""
    return Snapshot(instances=frozenset(instances), stale=stale)


def with_status(instance: Instance, status: Status) -> Instance:
    """The same with another word of the registry."""
    return msgspec.structs.replace(instance, status=status)


def fleet_of(*instances: Instance, health: Health | None = None, now: float = 0.0) -> Fleet:
    """A fleet that adopted these nodes."""
    fleet = Fleet(health or Health(), Random(1))
    fleet.adopt(snapshot(*instances), now)
    return fleet


def fleet_named(*names: str, health: Health | None = None) -> Fleet:
    """A fleet of nodes with default facts."""
    return fleet_of(*(node(name) for name in names), health=health)


def scheduler_of(fleet: Fleet, **routing: object) -> Scheduler:
    """A scheduler over a fleet."""
    return Scheduler(fleet, Costs(), Routing(**routing), Random(1))  # type: ignore[arg-type]


def ticket(
    name: str = "t", *, at: float = 0.0, budget: float = 30.0, cost_ms: float = 100.0, **facts: object
) -> Ticket:
    """A ticket whose cost is known."""
    return Ticket(request_id=name, arrival=at, deadline=at + budget, cost_ms=cost_ms, **facts)  # type: ignore[arg-type]


def heavy(
    name: str = "t", *, cost_ms: float = 1000.0, at: float = 0.0, budget: float = 30.0, **facts: object
) -> Ticket:
    """A ticket of heavy work."""
    return ticket(name, at=at, budget=budget, cost_ms=cost_ms, heavy=True, **facts)


def given(scheduler: Scheduler, wanted: Ticket, now: float = 0.0) -> Lease:
    """A lease that must be given at once."""
    lease = scheduler.submit(wanted, now)
    assert lease is not None, f"{wanted.request_id} waits: {scheduler}"
    return lease


def bound(scheduler: Scheduler, now: float) -> dict[str, object]:
    """What bind decides: node ids for leases, codes for errors, by request id."""
    return {
        each.request_id: result.backend.id if isinstance(result, Lease) else result.code
        for each, result in scheduler.bind(now)
    }


def refusal(scheduler: Scheduler, wanted: Ticket, now: float = 0.0) -> WireError:
    """The error with which it must be refused at once."""
    with pytest.raises(WireError) as caught:
        scheduler.submit(wanted, now)
    return caught.value


def retry_after(error: WireError) -> int:
    """What it says about coming back."""
    return int(error.headers["Retry-After"])
