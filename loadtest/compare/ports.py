"""Ports to listen on: each given once, below those that outgoing connections are given meanwhile."""

from __future__ import annotations

import socket
from contextlib import suppress
from itertools import cycle
from random import Random
from threading import Lock

LISTENING = range(20_000, 32_000)


class Ports:
    """Shared by runs at the same time, so that no two get the same."""

    def __init__(self, rng: Random) -> None:
        start = rng.randrange(len(LISTENING))
        self._order = cycle([*LISTENING[start:], *LISTENING[:start]])
        self._lock = Lock()

    def take(self, count: int) -> list[int]:
        """So many that nobody listens on now."""
        found: list[int] = []
        with self._lock:
            while len(found) < count:
                port = next(self._order)
                with socket.socket() as probe, suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    found.append(port)
        return found
