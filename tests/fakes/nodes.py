"""Instances for tests, and the health face of a node that Consul's checks ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from discovery.facts import instance_id
from discovery.instance import Instance


def instance(port: int, service: str = "fleetgate-node", **facts: Any) -> Instance:
    """A node on loopback."""
    return Instance(id=instance_id(service, "127.0.0.1", port), host="127.0.0.1", port=port, **facts)


class HealthFace:
    """Answers /v2/health/ready with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.port = 0
        self.asked = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Any method and path but one is unknown."""
        self.asked += 1
        return web.Response(status=self.status if request.path == "/v2/health/ready" else 404)


@asynccontextmanager
async def health_face() -> AsyncIterator[HealthFace]:
    """Run one on a free port of loopback."""
    face = HealthFace()
    runner = web.ServerRunner(web.Server(face.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    face.port = runner.addresses[0][1]
    try:
        yield face
    finally:
        await runner.cleanup()
