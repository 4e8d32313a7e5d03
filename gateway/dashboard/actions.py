"""What operators may change: each change needs the token and a reason, and is written into events and audit log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway.balancing import POLICIES
from gateway.dashboard.guard import check_action
from gateway.dashboard.parts import Parts
from gateway.journal import Event
from wire.errors import BadRequest, NotFound

log = logging.getLogger("fleetgate.audit")

# The largest image a header can announce is far below; what is above means "nothing is oversized".
PIXELS_MAX = 10_000_000_000

Reason = Annotated[str, Meta(min_length=3, max_length=300)]
T = TypeVar("T")


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of an action on a node."""

    reason: Reason
    by: Annotated[str, Meta(max_length=60)] = ""
    weight: Annotated[float, Meta(ge=0, le=100)] | None = None


class RoutingOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of a change of the routing; what is left out stays."""

    reason: Reason
    by: Annotated[str, Meta(max_length=60)] = ""
    oversize_pixels: Annotated[int, Meta(ge=1, le=PIXELS_MAX)] | None = None
    oversize_ms: Annotated[float, Meta(ge=0)] | None = None
    policy: str | None = None


class Acting:
    """The handlers that change something; `told` is called after each, so that pages see it at once."""

    def __init__(self, parts: Parts, told: Callable[[], None]) -> None:
        self._parts = parts
        self._told = told

    def routes(self) -> list[web.RouteDef]:
        """What is served where."""
        return [
            web.post("/api/nodes/{id}/{action:drain|undrain|eject|restore|weight}", self.node),
            web.post("/api/routing", self.routing),
        ]

    async def node(self, request: web.Request) -> web.Response:
        """Drain, undrain, eject, restore a node, or set its weight."""
        order = await self._order(request, Order)
        name, action = request.match_info["id"], request.match_info["action"]
        if name not in self._parts.fleet.backends:
            raise NotFound(f"No node {name!r}")
        text = self._carry_out(name, action, order)
        return self._done(request, order, "action", name, text)

    def _carry_out(self, name: str, action: str, order: Order) -> str:
        fleet, now = self._parts.fleet, self._parts.monotonic()
        if (action == "weight") != (order.weight is not None):
            raise BadRequest("A weight belongs to the action weight, and to no other")
        match action:
            case "drain":
                fleet.drain(name, now, order.reason)
            case "undrain":
                fleet.undrain(name, now)
            case "eject":
                fleet.eject(name, now, order.reason)
            case "restore":
                fleet.restore(name, now)
            case _:
                assert order.weight is not None
                fleet.set_weight(name, order.weight)
                return f"weight set to {order.weight:g}"
        return f"{action} by an operator"

    async def routing(self, request: web.Request) -> web.Response:
        """Change the size threshold or the policy."""
        order = await self._order(request, RoutingOrder)
        if order.policy is not None and order.policy not in POLICIES:
            raise BadRequest(f"No policy {order.policy!r}; there are {', '.join(sorted(POLICIES))}")
        wanted = {
            name: value
            for name in ("oversize_pixels", "oversize_ms", "policy")
            if (value := getattr(order, name)) is not None
        }
        if not wanted:
            raise BadRequest("Nothing to change: give oversize_pixels, oversize_ms or policy")
        scheduler = self._parts.scheduler
        before = scheduler.routing
        scheduler.reconfigure(msgspec.structs.replace(before, **wanted))
        text = ", ".join(f"{name} {getattr(before, name)} → {value}" for name, value in wanted.items())
        return self._done(request, order, "action", "routing", text)

    async def _order(self, request: web.Request, schema: type[T]) -> T:
        check_action(request, self._parts.config.operator)
        try:
            return msgspec.json.decode(await request.read(), type=schema)
        except msgspec.DecodeError as error:
            raise BadRequest(f"The body is no order: {error}") from None

    def _done(
        self, request: web.Request, order: Order | RoutingOrder, kind: str, subject: str, text: str
    ) -> web.Response:
        by = f"{order.by or 'an operator'} from {request.remote}"
        event = Event(
            at=round(self._parts.wall(), 3), kind=kind, subject=subject, text=text, reason=order.reason, by=by
        )
        self._parts.journal.events.append(event)
        log.warning(text, extra={"fields": {"subject": subject, "reason": order.reason, "by": by}})
        self._parts.changed()
        self._told()
        return web.Response(body=msgspec.json.encode(event), content_type="application/json")
