"""Which peers can take a request of some model and size; looked up once per kind of request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from gateway.backend import Backend
from gateway.catalogue import serves
from gateway.peers import Peers

REMEMBERED = 1024  # clients name models: what they invent is looked up, not kept

Kind = tuple[bool, tuple[str, ...], int]  # heavy, models, pixel limit


@dataclass(slots=True, frozen=True, eq=False)
class Reach:
    """The peers that can take a request of some model and size, by pool."""

    light: tuple[Peers, ...]
    heavy: tuple[Peers, ...]


NOWHERE = Reach((), ())


class Atlas:
    """All peers by kind, and the reaches made of them. The same choice of peers is always the same Reach."""

    def __init__(self, rng: Random) -> None:
        self.version = 0  # grows when reaches change; the queue sorts itself anew then
        self._rng = rng
        self._peers: dict[Kind, Peers] = {}
        self._reaches: dict[tuple[str, str], list[tuple[int, Reach]]] = {}
        self._known: dict[tuple[Peers, ...], Reach] = {}

    def peers(self) -> Iterable[Peers]:
        """All of them."""
        return self._peers.values()

    def peers_of(self, backend: Backend) -> Peers:
        """Those that a known node belongs to."""
        return self._peers[_kind(backend)]

    def regroup(self, backends: Iterable[Backend]) -> None:
        """Make peers for kinds that are new and forget kinds that nobody is of any more."""
        kinds = {_kind(each) for each in backends}
        if kinds == self._peers.keys():
            return
        for kind in kinds - self._peers.keys():
            self._peers[kind] = Peers(*kind, self._rng)
        for kind in self._peers.keys() - kinds:
            del self._peers[kind]
        self.forget()

    def forget(self) -> None:
        """Look everything up anew: peers, or the meaning of a name, have changed."""
        self._reaches.clear()
        self._known.clear()
        self.version += 1

    def reach(self, model: str, version: str, pixels: int) -> Reach:
        """Who can take it; NOWHERE when nobody known can."""
        steps = self._reaches.get((model, version))
        if steps is None:
            steps = self._explore(model, version)
        for limit, reach in steps:
            if pixels <= limit:
                return reach
        return NOWHERE

    def _explore(self, model: str, version: str) -> list[tuple[int, Reach]]:
        able = [peers for peers in self._peers.values() if serves(peers.models, model, version)]
        steps = [
            (limit, self._reach_of(tuple(peers for peers in able if peers.max_pixels >= limit)))
            for limit in sorted({peers.max_pixels for peers in able})
        ]
        if len(self._reaches) < REMEMBERED:
            self._reaches[model, version] = steps
        return steps

    def _reach_of(self, fit: tuple[Peers, ...]) -> Reach:
        reach = self._known.get(fit)
        if reach is None:
            light = tuple(peers for peers in fit if not peers.heavy)
            reach = self._known[fit] = Reach(light, tuple(peers for peers in fit if peers.heavy))
        return reach


def _kind(backend: Backend) -> Kind:
    return backend.pool == "heavy", tuple(sorted(backend.instance.models)), backend.max_pixels
