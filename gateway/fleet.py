"""All nodes as the gateway knows them: adopts snapshots, joins the verdicts on each, keeps the usable ones indexed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING

from discovery.instance import Instance, Snapshot, Status
from gateway.backend import Backend
from gateway.catalogue import Catalogue
from gateway.config import Health
from gateway.eligibility import choose, may_eject
from gateway.peers import Peers
from gateway.reach import Atlas, Reach
from gateway.standing import NEVER, WELCOME, State
from gateway.view import BackendView, view

if TYPE_CHECKING:
    from wire.grants import Others
    from wire.load_report import LoadReport

CROWDED = 10.0  # seconds for which nodes without a stream count as shared after a report of others' work


@dataclass(slots=True)
class Change:
    """Who came and who went."""

    joined: list[Backend] = field(default_factory=list)
    left: list[Backend] = field(default_factory=list)


class Fleet:
    """Every node by id. Times are seconds on the caller's clock; `rng` jitters ejections and breaks ties."""

    def __init__(self, health: Health, rng: Random) -> None:
        self.health = health
        self.stale = ""  # why the snapshot is old; empty when it is fresh
        self.adopted = False  # whether any snapshot came
        self.crowded_until = NEVER  # nodes that tell of others by their reports only are used by others until then
        self.panic = False  # too few are left: ejections are ignored
        self.judged = 0  # grows whenever who is usable may have changed
        self._rng = rng
        self._backends: dict[str, Backend] = {}
        self._atlas = Atlas(rng)
        self._catalogue = Catalogue()
        self._serial = 0
        self._dirty = False
        self._next_verdict = self._next_change = math.inf
        self._guesses: list[tuple[float, int, float, Backend]] = []  # a heap: when refusals are to be forgotten
        self._refusals = count()

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
        newcomers_turn = min((each.turn for each in self._backends.values()), default=0.0)
        announced = sorted(listed.values(), key=attrgetter("id"))
        self._rng.shuffle(announced)  # the first wins a tie: each gateway has another one, and a seed always the same
        news = [instance for instance in announced if self._take(instance, now, change)]
        for backend in change.joined:
            backend.turn = newcomers_turn
            if not first:  # when everybody is new, nobody is newer than the rest
                backend.slow_start(now, self.health.slow_start_seconds)
        missed = [each for each in self._backends.values() if each.id not in listed and each.standing.listed]
        for backend in missed:
            self._miss(backend, change)
        if news or missed:
            if listed:
                self._record(listed.values())
            self._atlas.regroup(self._backends.values())
            self.refresh(now)
        return change

    def _record(self, instances: Iterable[Instance]) -> None:
        before = self._catalogue.default
        self._catalogue.record(instances)
        if self._catalogue.default != before:
            self._atlas.forget()

    def _take(self, instance: Instance, now: float, change: Change) -> bool:
        """Believe an announcement; true if it says anything new."""
        backend = self._backends.get(instance.id)
        if backend is None:
            self._serial += 1
            backend = self._backends[instance.id] = Backend(instance, self.health, now, self._serial)
            change.joined.append(backend)
        elif backend.instance != instance:
            self._unindex(backend)
            backend.adopt(instance)
        elif backend.standing.listed:
            return False
        backend.standing.listed_as(instance.status, now)
        return True

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
            self._atlas.regroup(self._backends.values())
            self.refresh(now)
            return change
        backend.forgive(now)
        backend.forget_foreign(now)
        self.settle(backend)
        # Of a suspect the word may stay the same, yet in panic those that pass our probe are used and others are not.
        suspect = standing.probed is not before and standing.state in (State.CRITICAL, State.EJECTED)
        if suspect or standing.judge(now)[0] is not standing.state:
            self.refresh(now)
        return change

    def spared(self, backend_id: str, now: float) -> None:
        """A node that answers requests well was not probed: what others gave it grows old all the same."""
        backend = self._backends.get(backend_id)
        if backend is not None and backend.forget_foreign(now):
            self.settle(backend)

    def reported(self, backend_id: str, report: LoadReport, now: float) -> None:
        """Take a node's own load report: what others have given it."""
        backend = self._backends.get(backend_id)
        if backend is not None and backend.told(report, now):
            self.settle(backend)
            if backend.foreign:
                self.crowded_until = now + CROWDED

    def shared(self, backend_id: str, said: Others, now: float) -> None:
        """Take a line of a node's stream: who else it serves."""
        backend = self._backends.get(backend_id)
        if backend is not None:
            if not backend.gateways:
                self.crowded_until = NEVER  # what its reports said before is known better now
            backend.share(said.gateways, said.light_ms, said.heavy_ms, now)
            self.settle(backend)

    def refused(self, backend: Backend, now: float) -> None:
        """A node said it is full: it is left alone for about one request's time, not longer. Settle it afterwards."""
        until, forget_at = backend.refused(now)
        heappush(self._guesses, (forget_at, next(self._refusals), until, backend))
        self._plan()

    def unshared(self, backend_id: str, now: float) -> None:
        """A node's stream is gone: its reports must do."""
        backend = self._backends.get(backend_id)
        if backend is not None:
            backend.share(0, (), (), now)
            self.settle(backend)

    def erred(self, backend: Backend, code: str, now: float) -> None:
        """Count a failed attempt; too many in a row eject, as long as enough others are left."""
        if backend.erred(code, now) and now >= backend.standing.ejected_until and self._may_eject():
            failures = backend.standing.failures
            backend.standing.eject(f"{failures} failures in a row, last {code}", now, self._rng.random())
            self.refresh(now)

    def _may_eject(self) -> bool:
        return may_eject(self._backends.values(), self.health.eject_max_share)

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
        """Let time do its work: ejections that end, flapping that calmed down, refusals that are long ago."""
        if self._dirty or now >= self._next_change:
            self._end_guesses(now)
            if self._dirty or now >= self._next_verdict:
                self.refresh(now)

    @property
    def next_change(self) -> float:
        """When a verdict, or a guess about a load, may change by time alone."""
        return self._next_change

    @property
    def next_verdict(self) -> float:
        """When a verdict may change by time alone."""
        return self._next_verdict

    def refresh(self, now: float) -> None:
        """Judge everybody anew and bring the index up to date."""
        self._dirty = False
        self.judged += 1
        backends = self._backends.values()
        for backend in backends:
            self._judge(backend, now)
        self._next_verdict = min((each.standing.next_change(now) for each in backends), default=math.inf)
        self._plan()
        chosen, self.panic = choose(backends, self.health.panic_share)
        for backend in backends:
            if backend.id not in chosen:
                self._unindex(backend)
            elif not backend.usable:
                backend.usable = True
                self._atlas.peers_of(backend).welcome(backend)

    def _end_guesses(self, now: float) -> None:
        while self._guesses and self._guesses[0][0] <= now:
            _, _, until, backend = heappop(self._guesses)
            backend.forget_refusal(until, now)
            self.settle(backend)
        self._plan()

    def _plan(self) -> None:
        self._next_change = min(self._next_verdict, self._guesses[0][0]) if self._guesses else self._next_verdict

    def _judge(self, backend: Backend, now: float) -> None:
        standing = backend.standing
        standing.serve_out(now)
        state, why = standing.judge(now)
        if state is not standing.state:
            if state in WELCOME and standing.state not in WELCOME:
                backend.slow_start(now, self.health.slow_start_seconds)
            standing.state, standing.since = state, now
        standing.why = why

    def settle(self, backend: Backend) -> None:
        """Bring a backend's place in the index up to date after its load or speed changed."""
        if backend.peers is not None:
            backend.peers.settle(backend)

    def _unindex(self, backend: Backend) -> None:
        if backend.peers is not None:
            backend.peers.dismiss(backend)
        backend.usable = False

    # ---- what can be served ----------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Grows when reaches change."""
        return self._atlas.version

    def reach(self, model: str, version: str, pixels: int) -> Reach:
        """The peers that serve a model and take so many pixels; the same object for the same choice of peers."""
        return self._atlas.reach(model or self._catalogue.default, version, pixels)

    def peers(self) -> Iterable[Peers]:
        """All groups of like nodes."""
        return self._atlas.peers()

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
        light = sum(peers.power for peers in self.peers() if not peers.heavy)
        return light, sum(peers.power for peers in self.peers() if peers.heavy)

    def view(self, now: float) -> list[BackendView]:
        """All nodes for the page, in a steady order."""
        self.refresh_if_due(now)
        total = sum(each.rate_now(now) for each in self._backends.values())
        ordered = sorted(self._backends.values(), key=lambda each: (each.pool != "light", each.id))
        return [view(each, now, total) for each in ordered]


def _by_id(instances: frozenset[Instance]) -> dict[str, Instance]:
    """One instance per id; of doubles the one whose address sorts last, so that all gateways agree."""
    found = {each.id: each for each in instances}
    if len(found) == len(instances):
        return found
    return {each.id: each for each in sorted(instances, key=lambda each: (each.id, each.address, each.status))}
