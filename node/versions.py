"""Versions of models that come and go while the node serves: loaded beside, switched at once, the old one finished.

The order is what no request is lost by. A new version is warm before anybody is told of it, then answers whoever
names no version; the old one stays warm for a while, for a way back and for those who name it. Then gateways are told
that it is gone, only after that nothing finds it here, and only when the last request that did is answered it closes.
One change at a time. A version that cannot be loaded changes nothing, and is said to be unavailable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import msgspec

from node import shelf
from node.config import Models as Options
from node.costs import Costs
from node.engine import Engine
from node.models import Models
from node.shelf import Found, Mark
from node.work import Bucket
from node.workers import Workers
from repository.manifest import ArtefactError
from wire.errors import BadRequest, NotFound

log = logging.getLogger(__name__)


class Unloadable(Exception):
    """Why a version cannot be served; one line."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a change needs of the node. `changed` is told of every change and how it ended."""

    make: Callable[[Path], Engine]
    announce: Callable[[], Awaitable[None]]
    changed: Callable[[str, str], None]  # name@version; loaded, switched, failed or unloaded
    forget: Callable[[Engine], None]  # what was learned and kept of an engine that closed
    grace_seconds: float


class Entry(msgspec.Struct, frozen=True):
    """A line of the repository's index."""

    name: str
    version: str
    state: str  # READY, LOADING, UNLOADING or UNAVAILABLE
    reason: str = ""
    default: bool = False  # it answers calls that name no version


class Versions:
    """The only one who changes `models`."""

    def __init__(
        self, models: Models, options: Options, way: Way, costs: Costs, beside: Workers, rng: Random | None = None
    ) -> None:
        self._models = models
        self._options = options
        self._way = way
        self._costs = costs
        self._beside = beside
        self._rng = rng or Random()
        self._one_at_a_time = asyncio.Lock()
        self._loading = ""
        self._held: dict[str, str] = {}  # models that follow nothing: an operator chose their version, or none
        self._failed: dict[str, dict[str, Mark]] = {}  # by model and version
        self._keeping: dict[Engine, asyncio.Task[None]] = {}
        self._retiring: dict[Engine, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Open the models that the node begins with. Raises ArtefactError, or what a session raised.

        Where the newest version of a model is served, whatever it is, and it is broken, an older one is taken: a node
        that starts again must not be kept from it by what other nodes refused to switch to.
        """
        for engine in list(self._models.engines):
            seen = shelf.mark(engine.artefact)
            try:
                await self._begin(engine)
            except Exception as error:
                if not self._follows(engine.manifest.name):
                    raise
                self._fail(engine.manifest.name, engine.artefact, seen, str(error))
                await self._begin_older(engine, error)

    async def load(self, name: str, version: str = "") -> None:
        """Switch a model to `version` and hold on to it, or to its newest one and follow it again.

        Raises NotFound, or BadRequest when it cannot be loaded.
        """
        async with self._one_at_a_time:
            place = await self._place(name, version)
            try:
                await self._serve(name, place)
            except Unloadable as error:
                raise BadRequest(f"{name}@{place.name} cannot be loaded: {error}") from None
            self._held.pop(name, None)
            if version:
                self._held[name] = version

    async def unload(self, name: str, version: str = "") -> None:
        """Take a model, or one version of it, out of service once its requests are answered.

        Raises NotFound, or BadRequest for the last model: a node without one should rather leave.
        """
        async with self._one_at_a_time:
            gone = [self._models.find(name, version)] if version else self._models.versions(name)
            if len(gone) == len(self._models.engines):
                raise BadRequest("this is all that the node serves: stop the node instead")
            if any(map(self._models.is_current, gone)):
                self._held[name] = ""
            for engine in gone:
                self._forget_retirement(engine)
            self._models.leaving.update(gone)
            await self._way.announce()
            await asyncio.sleep(self._way.grace_seconds)
            for engine in gone:
                await self._part(engine)

    async def index(self) -> list[Entry]:
        """Every version that is served, that failed, or that lies in the repository."""
        entries = {engine.title: self._entry(engine) for engine in self._models.engines}
        if self._loading:
            entries.setdefault(self._loading, _unserved(self._loading, "LOADING", ""))
        for title, why in self._models.failures.items():
            entries.setdefault(title, _unserved(title, "UNAVAILABLE", why))
        for name, versions in (await self._look()).items():
            for version in versions:
                entries.setdefault(f"{name}@{version}", Entry(name, version, "UNAVAILABLE", "not loaded"))
        return sorted(entries.values(), key=lambda entry: (entry.name, shelf.age(entry.version)))

    async def watch(self) -> None:
        """Follow the model repository. Runs until cancelled; nodes of one repository look at different moments."""
        await asyncio.sleep(self._options.watch_seconds * self._rng.random())
        while True:
            try:
                await self.follow()
            except Exception:
                log.exception("the model repository could not be followed")
            await asyncio.sleep(self._options.watch_seconds)

    async def follow(self) -> None:
        """Look once, and switch to what is newest. A repository that is away or empty unloads nothing."""
        async with self._one_at_a_time:
            found = await self._look()
            for name in [*self._failed] if found else []:
                self._forget_failures(name, found.get(name, {}))
            for name, versions in found.items():
                current = self._models.current(name)
                best = shelf.newest(versions, self._failed.get(name, {}))
                if not best or name in self._held or not self._follows(name):
                    continue
                if current is None or current.manifest.version != best:
                    try:
                        await self._serve(name, Path(self._options.root) / name / best)
                    except Unloadable:
                        continue  # said already

    async def close(self) -> None:
        """Stop everything, and release all sessions."""
        tasks = [*self._keeping.values(), *self._retiring.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for engine in {*self._models.engines, *self._retiring}:
            await engine.close()

    async def _begin(self, engine: Engine) -> None:
        await engine.open()
        if bucket := engine.usual_bucket:
            self._costs.expect_run(bucket, engine.run_ms)
        self._keep(engine)
        log.info("model is warm", extra={"model": engine.title, "run_ms": engine.run_ms})

    async def _begin_older(self, broken: Engine, error: Exception) -> None:
        for place in shelf.older(broken.artefact):
            seen = shelf.mark(place)
            try:
                engine = self._way.make(place)
                await self._begin(engine)
            except Exception as another:
                self._fail(broken.manifest.name, place, seen, str(another))
                continue
            self._models.switch(engine)
            self._models.remove(broken)
            return
        raise error

    async def _serve(self, name: str, place: Path) -> None:
        """Make the version at `place` the current one of its model. Raises Unloadable."""
        engine = next((each for each in self._models.engines if each.artefact == place), None)
        if engine is None:
            engine = await self._load(name, place)
        before = self._models.current(name)
        if engine is before:
            return
        self._forget_retirement(engine)
        self._models.switch(engine)
        self._way.changed(engine.title, "switched")
        log.info("model switched", extra={"model": engine.title, "before": before.title if before else ""})
        await self._way.announce()
        for old in self._models.versions(name):
            if old is before:
                self._retire(old, self._options.keep_seconds)
            elif old in self._retiring:
                self._retire(old, 0.0)  # one way back is enough: each takes a session's memory

    async def _load(self, name: str, place: Path) -> Engine:
        title = f"{name}@{place.name}"
        log.info("loading a model beside the others", extra={"model": title})
        self._loading = title
        seen = shelf.mark(place)
        try:
            engine = await self._beside.call(partial(self._way.make, place))
            if engine.title != title:
                raise ArtefactError(f"its manifest calls it {engine.title}")
            await engine.open(gently=True, seconds=self._options.load_seconds)
        except Exception as error:  # whatever it is, what is served goes on
            why = str(error) or f"not warm after {self._options.load_seconds:g} s"
            self._fail(name, place, seen, why)
            raise Unloadable(why) from error
        finally:
            self._loading = ""
        self._expect(engine)
        self._keep(engine)
        self._way.changed(title, "loaded")
        return engine

    def _expect(self, engine: Engine) -> None:
        """Costs like those of the version before; without one, as they were when the model was frozen."""
        bucket, before = engine.usual_bucket, self._models.current(engine.manifest.name)
        if bucket is None:
            return
        known: Mapping[int, float] = {}
        if before is not None and (old := _same_shapes(before, bucket)) is not None:
            known = self._costs.known_run(old)
        prior = engine.manifest.cost.infer_ms if engine.manifest.cost else {}
        self._costs.expect_run(bucket, known or {size: prior[size] for size in engine.buckets if size in prior})

    def _keep(self, engine: Engine) -> None:
        self._keeping[engine] = asyncio.create_task(engine.keep(), name=f"keep {engine.title}")

    def _retire(self, engine: Engine, seconds: float) -> None:
        self._forget_retirement(engine)
        self._retiring[engine] = asyncio.create_task(self._leave(engine, seconds), name=f"retire {engine.title}")

    def _forget_retirement(self, engine: Engine) -> None:
        task = self._retiring.pop(engine, None)
        if task is not None:
            task.cancel()

    async def _leave(self, engine: Engine, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._models.leaving.add(engine)
        await self._way.announce()
        await asyncio.sleep(self._way.grace_seconds)
        await self._part(engine)
        self._retiring.pop(engine, None)

    async def _part(self, engine: Engine) -> None:
        self._models.remove(engine)
        await engine.unused()
        if keeper := self._keeping.pop(engine, None):
            keeper.cancel()
        await engine.close("unloaded")
        self._way.forget(engine)
        self._way.changed(engine.title, "unloaded")
        log.info("model unloaded", extra={"model": engine.title})

    def _fail(self, name: str, place: Path, seen: Mark | None, why: str) -> None:
        """`seen` is what was tried: what was written over it meanwhile has not failed."""
        title = f"{name}@{place.name}"
        why = why.splitlines()[0][:300]
        log.error("a version cannot be served", extra={"model": title, "why": why})
        self._models.failures[title] = why
        if seen is not None:
            self._failed.setdefault(name, {})[place.name] = seen
        self._way.changed(title, "failed")

    def _forget_failures(self, name: str, versions: Mapping[str, Mark]) -> None:
        """Of versions that were removed or written again."""
        failed = self._failed.get(name, {})
        for version in [version for version, seen in failed.items() if versions.get(version) != seen]:
            del failed[version]
            self._models.failures.pop(f"{name}@{version}", None)

    async def _place(self, name: str, version: str) -> Path:
        """Where a version lies: beside the one that is served, or in the root. Raises NotFound."""
        if not shelf.is_name(name) or (version and not shelf.is_name(version)):
            raise NotFound(f"there is no model {name[:64]!r} in the repository")
        served = self._models.current(name)
        model = served.artefact.parent if served else Path(self._options.root) / name
        if served is None and self._options.artefacts:
            raise NotFound(f"there is no model {name[:64]!r} in the repository")
        found = await self._beside.call(partial(shelf.find, model.parent, [model.name]))
        self._forget_failures(model.name, found[model.name])
        best = version or shelf.newest(found[model.name], {})
        if best not in found[model.name]:
            raise NotFound(f"the repository holds no whole version {best[:64]!r} of {name}")
        return model / best

    async def _look(self) -> Found:
        if self._options.artefacts:
            return {}
        names: Sequence[str] | None = shelf.followed(self._options)
        return await self._beside.call(partial(shelf.find, Path(self._options.root), names))

    def _follows(self, name: str) -> bool:
        names = shelf.followed(self._options)
        return names is None or name in names

    def _entry(self, engine: Engine) -> Entry:
        state = {"ready": "READY", "loading": "LOADING"}.get(engine.state, "UNAVAILABLE")
        if engine in self._models.leaving:
            state = "UNLOADING"
        return Entry(
            engine.manifest.name, engine.manifest.version, state, engine.why, default=self._models.is_current(engine)
        )


def _unserved(title: str, state: str, why: str) -> Entry:
    name, _, version = title.partition("@")
    return Entry(name, version, state, why)


def _same_shapes(engine: Engine, bucket: Bucket) -> Bucket | None:
    """The bucket of `engine` whose rows have the shapes of `bucket`."""
    usual = engine.usual_bucket
    return usual if usual is not None and usual[1] == bucket[1] else None
