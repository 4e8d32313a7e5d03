"""How much may be held at once: bytes of bodies, connections in all and per client (pure counters)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class ByteBudget:
    """Bytes of bodies held at once, over all requests. Nobody waits for it, so nobody can wait for ever."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def fits(self, size: int) -> bool:
        """Whether `size` more bytes could be held now; asked before an upload is begun."""
        return self.held + size <= self.limit

    def take(self, size: int) -> bool:
        """Count `size` bytes as held, or say no."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """They are let go."""
        self.held -= size

    def __repr__(self) -> str:
        return f"<ByteBudget {self.held}/{self.limit}>"


class ConnectionCap:
    """Connections in all and per client address. A trusted proxy, as `exempt` says, counts only in all."""

    __slots__ = ("_clients", "_exempt", "_limit", "_per_client", "open")

    def __init__(self, limit: int, per_client: int, exempt: Callable[[str], bool]) -> None:
        self._limit = limit
        self._per_client = per_client
        self._exempt = exempt
        self._clients: Counter[str] = Counter()
        self.open = 0

    def enter(self, client: str) -> str:
        """Count one more connection and say "", or say what is full: "all" or "client"."""
        if self.open >= self._limit:
            return "all"
        if self._clients[client] >= self._per_client and not self._exempt(client):
            return "client"
        self.open += 1
        self._clients[client] += 1
        return ""

    def leave(self, client: str) -> None:
        """A connection that entered is gone; a client without any is forgotten."""
        self.open -= 1
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    def __repr__(self) -> str:
        return f"<ConnectionCap {self.open}/{self._limit} of {len(self._clients)} clients>"
