"""Builds the operators' listener: an aiohttp application with its beat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from aiohttp import web

from gateway.dashboard import assets, guard
from gateway.dashboard.actions import Acting
from gateway.dashboard.answers import OwnAnswers, collectors_of
from gateway.dashboard.api import Reading
from gateway.dashboard.parts import Parts
from gateway.dashboard.pulse import Pulse
from gateway.dashboard.source import Answers, Source

ORDER_BYTES = 8192
PULSE = web.AppKey("PULSE", Pulse)


def build(parts: Parts) -> web.Application:
    """The page, `/api/…`, `/metrics` and the actions of one gateway."""
    pulse = Pulse(parts)
    acting = Acting(parts, pulse.hurry).routes()
    return assemble(parts, OwnAnswers(parts, collectors_of(parts)), pulse, acting)


def assemble(source: Source, answers: Answers, pulse: Pulse, acting: Iterable[web.RouteDef]) -> web.Application:
    """An application around these. The beat runs from its start-up to its clean-up."""
    app = web.Application(middlewares=[guard.middleware(source.config.operator)], client_max_size=ORDER_BYTES)
    app[PULSE] = pulse
    app.add_routes(Reading(source, answers, pulse, assets.load()).routes())
    app.add_routes(acting)

    async def beating(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(pulse.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def end_streams(_app: web.Application) -> None:
        pulse.close()

    app.cleanup_ctx.append(beating)
    app.on_shutdown.append(end_streams)  # before aiohttp waits for handlers, which streams would keep waiting
    return app
