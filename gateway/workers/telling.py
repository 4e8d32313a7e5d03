"""A worker's operator side: the usual one for its parent, and beside it what the parent adds up.

At every beat the parent is sent what has changed, so that it is never behind by more than a page would be.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry as Collectors

from gateway.dashboard import news
from gateway.dashboard.actions import Acting
from gateway.dashboard.answers import OwnAnswers, collectors_of
from gateway.dashboard.app import assemble
from gateway.dashboard.parts import Parts
from gateway.dashboard.pulse import Pulse
from gateway.workers.told import FAMILIES_PATH, STREAM_PATH, News, Registry, Told, encode, families_of


def telling(parts: Parts) -> web.Application:
    """The application that a worker serves on its own socket."""
    pulse, collectors = Pulse(parts), collectors_of(parts)
    app = assemble(parts, OwnAnswers(parts, collectors), pulse, Acting(parts, pulse.hurry).routes())
    app.add_routes(Telling(parts, pulse, collectors).routes())
    return app


class Telling:
    """The handlers that only a parent asks."""

    def __init__(self, parts: Parts, pulse: Pulse, collectors: Collectors) -> None:
        self._parts = parts
        self._pulse = pulse
        self._collectors = collectors

    def routes(self) -> list[web.RouteDef]:
        """What is served where."""
        return [web.get(STREAM_PATH, self.stream, allow_head=False), web.get(FAMILIES_PATH, self.families)]

    async def families(self, _request: web.Request) -> web.Response:
        """All metrics as values."""
        return web.Response(body=encode(families_of(self._collectors.collect())))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One message after another, each after its length in four bytes; the last holds the final metrics."""
        response = web.StreamResponse()
        await response.prepare(request)
        journal = self._parts.journal
        marks, ticks = news.marks(journal), 0
        while True:
            last = self._pulse.closed
            earlier, marks = marks, news.marks(journal)
            ticks, slots = journal.closed_since(ticks)
            message = encode(self._told(earlier, marks, slots, last=last))
            await response.write(len(message).to_bytes(4) + message)
            if last:
                return response
            await self._pulse.beat()

    def _told(self, earlier: news.Marks, marks: news.Marks, slots: list[Any], *, last: bool) -> Told:
        parts, state = self._parts, self._parts.registry
        fresh = news.since(parts.journal, earlier, marks)
        return Told(
            document=parts.document(),
            slots=slots,
            news=News(**{name: fresh[name] for name in msgspec.structs.asdict(News()) if name in fresh}),
            registry=Registry(
                answered=state.answered,
                stale=state.stale,
                since=state.since,
                changed=state.changed,
                updates=state.updates,
                failures=dict(state.failures),
            ),
            prediction_errors=dict(parts.prediction_errors()),
            families=families_of(self._collectors.collect()) if last else None,
        )
