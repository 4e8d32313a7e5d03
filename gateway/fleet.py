"""All nodes as the gateway knows them: adopts snapshots, joins the verdicts on each, keeps the usable ones indexed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from discovery.instance import Instance, Snapshot, Status
from gateway.backend import Backend
from gateway.catalogue import Catalogue, serves
from gateway.config import Health
from gateway.peers import Peers
from gateway.standing import WELCOME, State
from gateway.view import BackendView, view

if TYPE_CHECKING:
    from wire.load_report import LoadReport


@dataclass(slots=True)
class Change:
    """Who came and who went."""

    joined: list[Backend] = field(default_factory=list)
    left: list[Backend] = field(default_factory=list)


@dataclass(slots=True, frozen=True, eq=False)
class Reach:
    """The peers that can take a request of some model and size, by pool."""

    light: tuple[Peers, ...]
    heavy: tuple[Peers, ...]


class Fleet:
    """Every node by id. Times are seconds on the caller's clock; `rng` jitters ejections and breaks ties."""

    def __init__(self, health: Health, rng: Random) -> None:
        self.health = health
        self.stale = ""  # why the snapshot is old; empty when it is fresh
        self.adopted = False  # whether any snapshot came
        self.panic = False  # too few are left: ejections are ignored
        self.version = 0  # grows when reaches change; the queue sorts itself anew then
        self._rng = rng
        self._backends: dict[str, Backend] = {}
        self._peers: dict[tuple[bool, tuple[str, ...], int], Peers] = {}
        self._reaches: dict[tuple[str, str], list[tuple[int, Reach]]] = {}
        self._known_reaches: dict[tuple[Peers, ...], Reach] = {}
        self._catalogue = Catalogue()
        self._serial = 0
        self._dirty = False
        self._next_change = math.inf

    def __repr__(self) -> str:
        return f"<Fleet {list(self._backends.values())}>"

    @property
    def backends(self) -> Mapping[str, Backend]:
        """All known nodes, usable or not."""
        return self._backends

    @property
    def default_model(self) -> str:
        """What a request without a model means."""
        return self._catalogue.default

    # ---- membership ------------------------------------------------------------------------------------------------

    def adopt(self, snapshot: Snapshot, now: float) -> Change:
        """Make the fleet what the registry says, as far as it can be believed.

        Survivors keep their memory. A node that vanishes without having been critical or in maintenance is used on
        while it passes our own probes (Envoy: absent from discovery, passing the active check), so an empty or
        wiped registry never empties the fleet.
        """
        self.stale = snapshot.stale
        self.adopted = True
        change = Change()
        listed = _by_id(snapshot.instances)
        first = not self._backends
        for instance in listed.values():
            self._take(instance, now, change)
        if not first:  # when everybody is new, nobody is newer than the rest
            for backend in change.joined:
                backend.slow_start(now, self.health.slow_start_seconds)
        for backend in [each for each in self._backends.values() if each.id not in listed]:
            self._miss(backend, change)
        if listed:
            self._record(listed.values())
        self._regroup()
        self.refresh(now)
        return change

    def _record(self, instances: Iterable[Instance]) -> None:
        before = self._catalogue.default
        self._catalogue.record(instances)
        if self._catalogue.default != before:
            self._reaches.clear()
            self.version += 1

    def _take(self, instance: Instance, now: float, change: Change) -> None:
        backend = self._backends.get(instance.id)
        if backend is None:
            self._serial += 1
            backend = Backend(instance, self.health, now, self._serial)
            backend.turn = min((each.turn for each in self._backends.values()), default=0.0)
            self._backends[instance.id] = backend
            change.joined.append(backend)
        elif backend.instance != instance:
            self._unindex(backend)
            backend.adopt(instance)
        backend.standing.listed_as(instance.status, now)

    def _miss(self, backend: Backend, change: Change) -> None:
        standing = backend.standing
        leaving = standing.status in (Status.MAINTENANCE, Status.CRITICAL) or standing.operator == "drain"
        if leaving or standing.probed is not True:
            self._remove(backend, change)
        else:
            standing.listed = False

    def _remove(self, backend: Backend, change: Change) -> None:
        self._unindex(backend)
        del self._backends[backend.id]
        change.left.append(backend)

    # ---- verdicts --------------------------------------------------------------------------------------------------

    def probed(self, backend_id: str, ok: bool, now: float, why: str = "") -> Change:
        """Take the verdict of an active probe; an unlisted node that fails one is gone."""
        change = Change()
        backend = self._backends.get(backend_id)
        if backend is None:
            return change
        standing = backend.standing
        before = standing.probed
        standing.probe(ok, now, why)
        if not ok and not standing.listed:
            self._remove(backend, change)
            self._regroup()
            self.refresh(now)
            return change
        backend.forgive(now)
        backend.forget_foreign(now)
        self.settle(backend)
        if standing.probed is not before:
            self.refresh(now)
        return change

    def reported(self, backend_id: str, report: LoadReport, now: float) -> None:
        """Take a node's own load report: what others have given it."""
        backend = self._backends.get(backend_id)
        if backend is not None:
            backend.told(report, now)
            self.settle(backend)

    def erred(self, backend: Backend, code: str, now: float) -> None:
        """Count a failed attempt; too many in a row eject, as long as enough others are left."""
        if backend.erred(code, now) and now >= backend.standing.ejected_until and self._may_eject():
            failures = backend.standing.failures
            backend.standing.eject(f"{failures} failures in a row, last {code}", now, self._rng.random())
            self.refresh(now)

    def _may_eject(self) -> bool:
        staying = [each for each in self._backends.values() if each.standing.state is not State.DRAINING]
        out = sum(each.standing.state is State.EJECTED for each in staying)
        return out < max(1, int(self.health.eject_max_share * len(staying)))

    # ---- operators -------------------------------------------------------------------------------------------------

    def drain(self, backend_id: str, now: float, why: str) -> None:
        """No new requests, until undrain; what it holds goes on. KeyError for an unknown node, as below."""
        self._order(backend_id, "drain", f"drained by an operator: {why}", now)

    def undrain(self, backend_id: str, now: float) -> None:
        """Take a drain back."""
        self._order(backend_id, "", "", now)

    def eject(self, backend_id: str, now: float, why: str) -> None:
        """As drain, but told as a fault; lasts until restore."""
        self._order(backend_id, "eject", f"ejected by an operator: {why}", now)

    def restore(self, backend_id: str, now: float) -> None:
        """End an ejection of either kind, with a clean record."""
        self._backends[backend_id].standing.pardon()
        self._order(backend_id, "", "", now)

    def set_weight(self, backend_id: str, weight: float) -> None:
        """An operator's factor on a node's speed; 0 takes it out of the choice."""
        backend = self._backends[backend_id]
        backend.set_weight(weight)
        self._dirty = True
        self.settle(backend)

    def _order(self, backend_id: str, order: str, why: str, now: float) -> None:
        standing = self._backends[backend_id].standing
        standing.operator, standing.operator_why = order, why
        self.refresh(now)

    # ---- who is usable ---------------------------------------------------------------------------------------------

    def refresh_if_due(self, now: float) -> None:
        """Let time do its work: ejections that end, flapping that calmed down."""
        if self._dirty or now >= self._next_change:
            self.refresh(now)

    @property
    def next_change(self) -> float:
        """When a verdict may change by time alone."""
        return self._next_change

    def refresh(self, now: float) -> None:
        """Judge everybody anew and bring the index up to date."""
        self._dirty = False
        backends = self._backends.values()
        for backend in backends:
            self._judge(backend, now)
        self._next_change = min((each.standing.next_change(now) for each in backends), default=math.inf)
        for backend, usable in self._choose():
            if usable and not backend.usable:
                backend.usable = True
                self._group(backend).welcome(backend)
            elif not usable and backend.usable:
                self._unindex(backend)

    def _judge(self, backend: Backend, now: float) -> None:
        standing = backend.standing
        standing.serve_out(now)
        state, why = standing.judge(now)
        if state is not standing.state:
            if state in WELCOME and standing.state not in WELCOME:
                backend.slow_start(now, self.health.slow_start_seconds)
            standing.state, standing.since = state, now
        standing.why = why

    def _choose(self) -> list[tuple[Backend, bool]]:
        """Who may be used: the healthy; the degraded where nobody healthy is left; in panic those merely suspected."""
        staying = [each for each in self._backends.values() if each.standing.state is not State.DRAINING]
        healthy = [each for each in staying if each.standing.state in WELCOME]
        able = {(each.pool, each.instance.models) for each in healthy}
        fair = [
            each
            for each in staying
            if each.standing.state is State.DEGRADED and (each.pool, each.instance.models) not in able
        ]
        sound = sum(each.standing.state in WELCOME or each.standing.state is State.DEGRADED for each in staying)
        self.panic = bool(staying) and sound < self.health.panic_share * len(staying)
        chosen = {each.id for each in healthy + fair}
        names = {name for each in healthy + fair for name in _names(each)}
        for each in staying:
            if each.standing.spare and (self.panic or not names.intersection(_names(each))):
                chosen.add(each.id)
        return [(each, each.id in chosen and each.weight > 0.0) for each in self._backends.values()]

    def settle(self, backend: Backend) -> None:
        """Bring a backend's place in the index up to date after its load or speed changed."""
        if backend.peers is not None:
            backend.peers.settle(backend)

    def _unindex(self, backend: Backend) -> None:
        if backend.peers is not None:
            backend.peers.dismiss(backend)
        backend.usable = False

    def _group(self, backend: Backend) -> Peers:
        return self._peers[_kind(backend)]

    def _regroup(self) -> None:
        """Make peers for kinds that are new and forget kinds that nobody is of."""
        kinds = {_kind(each) for each in self._backends.values()}
        if kinds == self._peers.keys():
            return
        for kind in kinds - self._peers.keys():
            self._peers[kind] = Peers(*kind, self._rng)
        for kind in self._peers.keys() - kinds:
            del self._peers[kind]
        self._reaches.clear()
        self._known_reaches.clear()
        self.version += 1

    # ---- what can be served ----------------------------------------------------------------------------------------

    def reach(self, model: str, version: str, pixels: int) -> Reach:
        """The peers that serve a model and take so many pixels. The same object for the same choice of peers."""
        steps = self._reaches.get((model, version))
        if steps is None:
            steps = self._explore(model, version)
        for limit, reach in steps:
            if pixels <= limit:
                return reach
        return NOWHERE

    def _explore(self, model: str, version: str) -> list[tuple[int, Reach]]:
        name = model or self.default_model
        able = [peers for peers in self._peers.values() if serves(peers.models, name, version)]
        steps = []
        for limit in sorted({peers.max_pixels for peers in able}):
            fit = [peers for peers in able if peers.max_pixels >= limit]
            steps.append((limit, self._reach_of(tuple(fit))))
        if len(self._reaches) < 1024:  # clients name models: what they invent is looked up, not kept
            self._reaches[model, version] = steps
        return steps

    def _reach_of(self, fit: tuple[Peers, ...]) -> Reach:
        reach = self._known_reaches.get(fit)
        if reach is None:
            light = tuple(peers for peers in fit if not peers.heavy)
            heavy = tuple(peers for peers in fit if peers.heavy)
            reach = self._known_reaches[fit] = Reach(light, heavy)
        return reach

    def servable(self, model: str, version: str) -> str:
        """ "yes", "no_node_now" (known, but nobody can serve it now) or "unknown_model"."""
        name = model or self.default_model
        reach = self.reach(model, version, 0)
        if any(peers.size for peers in reach.light + reach.heavy):
            return "yes"
        return "no_node_now" if self._catalogue.knows(name, version) else "unknown_model"

    def max_pixels(self, model: str, version: str = "") -> int:
        """The most pixels any known node takes for this model; above it the answer is 413 at once."""
        return self._catalogue.max_pixels(model or self.default_model, version)

    def power(self) -> tuple[float, float]:
        """Milliseconds of cost done per second by the usable nodes of the light and of the heavy pool."""
        light = sum(peers.power for peers in self._peers.values() if not peers.heavy)
        return light, sum(peers.power for peers in self._peers.values() if peers.heavy)

    def view(self, now: float) -> list[BackendView]:
        """All nodes for the page, in a steady order."""
        self.refresh_if_due(now)
        total = sum(each.rate_now(now) for each in self._backends.values())
        ordered = sorted(self._backends.values(), key=lambda each: (each.pool != "light", each.id))
        return [view(each, now, total) for each in ordered]


NOWHERE = Reach((), ())


def _kind(backend: Backend) -> tuple[bool, tuple[str, ...], int]:
    return backend.pool == "heavy", tuple(sorted(backend.instance.models)), backend.max_pixels


def _names(backend: Backend) -> set[str]:
    return {announced.partition("@")[0] for announced in backend.instance.models} or {""}


def _by_id(instances: Iterable[Instance]) -> dict[str, Instance]:
    """One instance per id; of doubles the one whose address sorts last, so that all gateways agree."""
    return {each.id: each for each in sorted(instances, key=lambda each: (each.id, each.address, each.status))}
