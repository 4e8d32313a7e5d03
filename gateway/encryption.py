"""The certificates of one gateway: what clients are shown, what nodes are shown and must show."""

from __future__ import annotations

import asyncio
from collections import Counter

from gateway.node_pool import Pool
from tls.config import ClientTls, ServerTls
from tls.credentials import Credentials, client_credentials, server_credentials


class Encryption:
    """Both sides, each only if it is configured. Raises ValueError, one line, for files that cannot be used."""

    def __init__(self, public: ServerTls, nodes: ClientTls) -> None:
        self.public = server_credentials("public", public) if public.cert_file else None
        self.nodes = client_credentials("nodes", nodes) if nodes.ca_file else None
        self.failures: Counter[str] = Counter()  # handshakes of clients that came to nothing, by reason
        self._periods = (public.look_seconds, nodes.look_seconds)

    @property
    def scheme(self) -> str:
        """What clients speak to us."""
        return "http" if self.public is None else "https"

    @property
    def used(self) -> list[Credentials]:
        """Those that are."""
        return [each for each in (self.public, self.nodes) if each is not None]

    def secure(self, pool: Pool) -> None:
        """Let it connect to nodes as is configured, now and after every renewal."""
        if self.nodes is not None:
            pool.trust(self.nodes.current)
            self.nodes.followers.append(pool.trust)

    def reload(self) -> None:
        """Read all files again, now."""
        for each in self.used:
            each.reload()

    async def watch(self) -> None:
        """Follow the files until cancelled."""
        both = zip((self.public, self.nodes), self._periods, strict=True)
        await asyncio.gather(*(each.watch(period) for each, period in both if each is not None))
