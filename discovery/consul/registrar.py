"""Consul, as a node announces itself: what the agent knows is kept equal to what the node wants.

Consul being away never fails a node: it serves on and tries again, saying so once.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random

from discovery.config import RegistryConfig
from discovery.consul.client import ConsulClient, RegistryUnavailable, TokenRefused
from discovery.facts import checked, to_facts
from discovery.instance import Instance
from discovery.keeper import Keeper
from discovery.pace import Backoff

HEALTH_PATH = "/v2/health/ready"
FIRST_PAUSE, MOST_PAUSE = 0.2, 15.0
ANNOUNCE_SECONDS = 5.0  # a node that waits longer for its registry serves nobody meanwhile
LEAVE_SECONDS = 2.0  # leaving must not take longer because the registry is gone

log = logging.getLogger(__name__)


class ConsulRegistrar:
    """Announces one instance."""

    def __init__(self, client: ConsulClient, config: RegistryConfig, rng: Random) -> None:
        self._client = client
        self._config = config
        self._backoff = Backoff(FIRST_PAUSE, MOST_PAUSE, rng)
        self._wanted: Instance | None = None
        self._registered: Instance | None = None
        self._leaving = False
        self._in_maintenance = False
        self._lost = ""
        self._keeper = Keeper(self._round, "consul-registrar")

    async def announce(self, instance: Instance) -> None:
        """See Registrar. Returns when registered, or after the first failure, which is tried again.

        Announcing again changes what is known without a gap. Raises ValueError for facts no registry would hold.
        """
        if self._wanted and self._wanted.id != instance.id:
            raise ValueError(f"already announced as {self._wanted.id}")
        self._wanted = checked(instance)
        if self._leaving:  # back from maintenance: only a fresh registration clears it
            self._leaving, self._registered = False, None
        await self._keeper.settle(ANNOUNCE_SECONDS)

    async def withdraw(self) -> None:
        """See Registrar. Gives up waiting after 2 s; the node's own health answer says the same to whoever asks it."""
        if self._wanted is not None:
            self._leaving = True
            await self._keeper.settle(LEAVE_SECONDS)

    async def close(self) -> None:
        """See Registrar."""
        await self._keeper.stop()
        if self._wanted is not None:
            try:
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._deregister(self._wanted)
            except (RegistryUnavailable, TimeoutError) as error:
                log.warning("could not leave Consul, whose check will drop %s: %s", self._wanted.id, error)
        await self._client.close()

    async def _round(self) -> float:
        """One try; seconds until the next."""
        try:
            await self._reconcile()
        except RegistryUnavailable as error:
            self._note_lost(error)
            return self._backoff.failed()
        self._backoff.succeeded()
        if self._lost:
            self._lost = ""
            log.info("Consul is back; announced there as %s", self._wanted.id if self._wanted else "nobody")
        return self._config.refresh_seconds

    async def _reconcile(self) -> None:
        instance = self._wanted
        if instance is None:
            return
        if self._leaving:
            await self._go_into_maintenance(instance)
        elif self._registered is None:
            # Registering over an old entry would keep its critical checks and its maintenance.
            await self._deregister(instance)
            await self._register(instance)
        elif self._registered != instance:
            await self._register(instance)
        elif not await self._known(instance):
            log.warning("Consul's agent forgot %s; registering again", instance.id)
            await self._register(instance)

    async def _known(self, instance: Instance) -> bool:
        return await self._client.agent.service_definition(instance.id) is not None

    async def _deregister(self, instance: Instance) -> None:
        # Asked first, as an agent with ACLs answers 500 to the removal of what it does not know (seen with 1.8.7).
        if await self._known(instance):
            await self._client.agent.service.deregister(instance.id)

    async def _register(self, instance: Instance) -> None:
        await self._client.agent.service.register(
            self._config.service,
            service_id=instance.id,
            address=instance.host,
            port=instance.port,
            tags=[instance.pool],
            meta=to_facts(instance),
            weights={"Passing": instance.capacity, "Warning": 1},
            check=health_check(instance),
        )
        self._registered = instance
        self._in_maintenance = False

    async def _go_into_maintenance(self, instance: Instance) -> None:
        if not self._in_maintenance:
            if await self._known(instance):  # else nobody is sent here by it anyway
                await self._client.agent.service.maintenance(instance.id, True, "leaving")
            self._in_maintenance = True

    def _note_lost(self, error: RegistryUnavailable) -> None:
        if isinstance(error, TokenRefused) and self._lost != "token":
            self._lost = "token"
            log.error(
                '%s: announcing needs service "%s" { policy = "write" }; serving on, trying again',
                error,
                self._config.service,
            )
        elif not self._lost:
            self._lost = "unavailable"
            log.warning("cannot announce; serving on, trying again: %s", error)


def health_check(instance: Instance) -> dict[str, object]:
    """Consul asks the node itself. Passing from the start, as a node announces itself only when warm.

    The two counts damp a flapping node; 10 min spare a node that is long away its place. An agent has neither the
    fleet's CA nor a certificate that a node would take: behind TLS it only knocks, and gateways ask in full.
    """
    how = {"tcp": instance.address} if instance.tls else {"http": f"http://{instance.address}{HEALTH_PATH}"}
    return {
        **how,
        "interval": "2s",
        "timeout": "1s",
        "DeregisterCriticalServiceAfter": "10m",
        "status": "passing",
        "FailuresBeforeCritical": 2,
        "SuccessBeforePassing": 2,
    }
