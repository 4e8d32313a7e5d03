"""Actions of operators, carried out by every worker, and by those that come later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from gateway.dashboard.guard import ACTION_HEADER, check_action
from gateway.journal import Event
from gateway.workers.asking import UNREACHABLE
from gateway.workers.crew import Crew
from gateway.workers.member import Member
from gateway.workers.orders import ROUTING_PATH, Orders, Standing
from gateway.workers.together import Together
from wire.errors import CONTENT_TYPE, NoNode

log = logging.getLogger("fleetgate.audit")
Answer = tuple[int, bytes]


class Passing:
    """The handlers; `told` is called after each action, so that pages see it at once."""

    def __init__(self, together: Together, crew: Crew, orders: Orders, told: Callable[[], None]) -> None:
        self._together = together
        self._crew = crew
        self._orders = orders
        self._told = told

    def routes(self) -> list[web.RouteDef]:
        """What is served where: as dashboard/actions.py."""
        return [
            web.post("/api/nodes/{id}/{action:drain|undrain|eject|restore|weight}", self.node),
            web.post(ROUTING_PATH, self.routing),
        ]

    async def node(self, request: web.Request) -> web.Response:
        """An action on a node."""
        name, action = request.match_info["id"], request.match_info["action"]
        answer, order = await self._pass(request, f"/api/nodes/{quote(name, safe='')}/{action}")
        if order is not None:
            self._orders.noted(name, action, order)
        return answer

    async def routing(self, request: web.Request) -> web.Response:
        """A change of the routing."""
        answer, order = await self._pass(request, ROUTING_PATH)
        if order is not None:
            self._orders.rerouted(order)
        return answer

    async def greet(self, member: Member) -> None:
        """Tell a newcomer what was ordered before it came."""
        nodes = [node.id for node in self._together.document().nodes]
        for standing in list(self._orders.standing(nodes)):
            await self._order(member, standing)

    async def _pass(self, request: web.Request, path: str) -> tuple[web.Response, dict[str, Any] | None]:
        """The answer, and the order if it was carried out by any worker."""
        check_action(request, self._crew.config.operator)
        body = await request.read()
        answers = await asyncio.gather(*(self._ask(member, path, body) for member in self._crew.members))
        done = [said for status, said in answers if status == 200]
        if not done:
            status, said = next(((status, said) for status, said in answers if status), (0, b""))
            if not status:
                raise NoNode("No worker process answers")
            return web.Response(status=status, body=said, content_type=CONTENT_TYPE), None
        order = msgspec.json.decode(body)
        event = self._note(request, order, msgspec.json.decode(done[0], type=Event), len(answers) - len(done))
        return web.Response(body=msgspec.json.encode(event), content_type="application/json"), order

    def _note(self, request: web.Request, order: dict[str, Any], said: Event, undone: int) -> Event:
        by = f"{order.get('by') or 'an operator'} from {request.remote}"
        text = f"{said.text} (not in {undone} of {len(self._crew.members)} workers)" if undone else said.text
        event = self._together.note(said.subject, text, said.reason, kind=said.kind, by=by)
        log.warning(text, extra={"fields": {"subject": said.subject, "reason": said.reason, "by": by}})
        self._told()
        return event

    async def _order(self, member: Member, standing: Standing) -> None:
        await self._ask(member, standing.path, msgspec.json.encode(standing.body))

    async def _ask(self, member: Member, path: str, body: bytes) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._crew.config.operator.token}",
            ACTION_HEADER: "1",
            "Content-Type": "application/json",
        }
        try:
            return await member.ask("POST", path, body, headers)
        except UNREACHABLE:
            return 0, b""
