"""Builds the operators' listener: an aiohttp application with its beat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import CollectorRegistry as Collectors
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

from gateway.dashboard import assets, guard
from gateway.dashboard.actions import Acting
from gateway.dashboard.api import Reading
from gateway.dashboard.gauges import Gauges
from gateway.dashboard.parts import Parts
from gateway.dashboard.pulse import Pulse

ORDER_BYTES = 8192
PULSE = web.AppKey("PULSE", Pulse)


def build(parts: Parts) -> web.Application:
    """The page, `/api/…`, `/metrics` and the actions. The beat runs from start-up to clean-up of the application."""
    collectors = Collectors()
    collectors.register(parts.metrics)
    collectors.register(Gauges(parts))
    for collector in parts.collectors:
        collectors.register(collector)
    for system in (ProcessCollector, PlatformCollector, GCCollector):
        system(registry=collectors)
    pulse = Pulse(parts)
    app = web.Application(middlewares=[guard.middleware(parts.config.operator)], client_max_size=ORDER_BYTES)
    app[PULSE] = pulse
    app.add_routes(Reading(parts, pulse, assets.load(), collectors).routes())
    app.add_routes(Acting(parts, pulse.hurry).routes())

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
