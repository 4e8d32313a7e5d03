"""The operators' listener of a parent: on sockets that can be moved and handed over."""

from __future__ import annotations

import socket

from aiohttp import web

from gateway import listening
from gateway.dashboard.app import assemble
from gateway.dashboard.pulse import Pulse
from gateway.workers.asking import Gathered
from gateway.workers.crew import Crew
from gateway.workers.orders import Orders
from gateway.workers.passing import Passing
from gateway.workers.together import Together


class Desk:
    """`open`, perhaps `move`, `close`."""

    def __init__(self, together: Together, crew: Crew, orders: Orders) -> None:
        self._pulse = Pulse(together)
        passing = Passing(together, crew, orders, self._pulse.hurry)
        self.greet = passing.greet  # a new worker is told what was ordered
        self.hurry = self._pulse.hurry  # tell the pages now
        application = assemble(together, Gathered(together, crew), self._pulse, passing.routes())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        self._sites: list[web.SockSite] = []
        self.sockets: list[socket.socket] = []

    @property
    def address(self) -> str:
        """host:port"""
        return listening.address(self.sockets[0].getsockname())

    async def open(self, sockets: list[socket.socket]) -> None:
        """Serve at these."""
        await self._runner.setup()
        await self.move(sockets)

    async def move(self, sockets: list[socket.socket]) -> None:
        """Serve at these, and no longer where we did."""
        before, self._sites, self.sockets = self._sites, [], sockets
        for sock in sockets:
            self._sites.append(web.SockSite(self._runner, sock))
            await self._sites[-1].start()
        for site in before:
            await site.stop()

    async def close(self) -> None:
        """End pages and listeners."""
        await self._runner.cleanup()
