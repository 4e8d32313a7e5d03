"""Consul, as the gateway watches it: blocking queries for the whole service, every failure survived.

Rules and measurements: CONVENTIONS section 5; the watch is without the passing filter, so that warning,
critical and maintenance are visible to the router.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from random import Random

import msgspec

from discovery.config import RegistryConfig
from discovery.consul.answer import doubt, next_index, read_index, read_listing
from discovery.consul.client import Answer, ConsulClient, RegistryUnavailable, TokenRefused
from discovery.instance import Snapshot
from discovery.notes import ChangeNote, RefusalNote
from discovery.pace import Backoff, TokenBucket
from discovery.trust import Trust

BURST, ROUNDS_PER_SECOND = 2, 1.0  # at most three questions in any second, one a second for ever
FIRST_PAUSE, MOST_PAUSE = 0.2, 15.0


class ConsulWatcher:
    """Whole snapshots of one Consul service."""

    def __init__(
        self, client: ConsulClient, config: RegistryConfig, rng: Random, bucket: TokenBucket | None = None
    ) -> None:
        self._client = client
        self._config = config
        self._trust = Trust()
        self._bucket = bucket or TokenBucket(BURST, ROUNDS_PER_SECOND)
        self._backoff = Backoff(FIRST_PAUSE, MOST_PAUSE, rng)
        self._refusals = RefusalNote(logging.getLogger(__name__))
        self._changes = ChangeNote(logging.getLogger(__name__), f"Consul at {client.http.base_uri}")
        self._index = 0
        self._pause = 0.0
        self._answered_at = -math.inf
        self._closed = False

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See Watcher."""
        shown: Snapshot | None = None
        while not self._closed:
            snapshot = await self._round()
            if self._closed:
                return
            self._changes.note(snapshot)
            if snapshot != shown:
                shown = snapshot
                yield snapshot

    def age(self) -> float:
        """See Watcher. A quiet registry answers every `wait_seconds`."""
        return time.monotonic() - self._answered_at

    async def close(self) -> None:
        """End the snapshots and close connections."""
        self._closed = True
        await self._client.close()

    async def _round(self) -> Snapshot:
        """Ask once, when it is time to: as long as nothing changes, up to `wait_seconds`."""
        await asyncio.sleep(max(self._pause, self._bucket.take(time.monotonic())))
        try:
            return self._believed(await self._ask())
        except TokenRefused as error:
            return self._failed(f"{error}; watching needs service and node read")
        except msgspec.DecodeError:
            return self._failed("Consul answered no JSON list")
        except (RegistryUnavailable, ValueError) as error:
            return self._failed(str(error))

    async def _ask(self) -> Answer:
        wait = self._config.wait_seconds
        params = [("index", str(self._index)), ("wait", f"{wait * 1000:.0f}ms")] if self._index else []
        # Consul adds up to a sixteenth of jitter to the wait; a hung agent must not hold us for ever.
        seconds = wait * 17 / 16 + 5
        return await self._client.ask(f"/v1/health/service/{self._config.service}", params, seconds)

    def _believed(self, answer: Answer) -> Snapshot:
        index = next_index(self._index, read_index(answer.headers))
        listing = read_listing(answer.body)
        self._refusals.note(listing.refused, time.monotonic())
        why = doubt(answer.headers, empty=not listing.instances)
        if why:
            self._retry_later()
            return self._trust.doubtful(listing.instances, why)
        self._index = index
        self._backoff.succeeded()
        self._pause = 0.0
        snapshot = self._trust.answered(listing.instances)
        if not snapshot.stale:
            self._answered_at = time.monotonic()
        return snapshot

    def _failed(self, why: str) -> Snapshot:
        self._retry_later()
        return self._trust.failed(why)

    def _retry_later(self) -> None:
        self._index = 0  # what comes back after a failure may have lost its state: ask for everything
        self._pause = self._backoff.failed()
