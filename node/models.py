"""The models of a node: which engine a name, a version or nothing at all means, while versions come and go.

Of each model one version is current: it answers whoever names no version. Others are beside it, for those who do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import monotonic

from node.engine import Engine, State
from node.shelf import age
from wire.errors import NodeBusy, NotFound

# A gateway that has not yet heard that a version left sends requests for it a little longer.
_REMEMBERED_SECONDS = 60.0


class Models:
    """All engines that are served. The first model is the default."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines: list[Engine] = []
        self.failures: dict[str, str] = {}  # name@version to why it could not be loaded
        self.leaving: set[Engine] = set()  # no longer announced, still served
        self._current: dict[str, Engine] = {}  # in the order in which models were first served
        self._gone: dict[str, float] = {}  # name@version to when it left
        for engine in sorted(engines, key=lambda engine: age(engine.manifest.version)):
            self.switch(engine)
        self.engines = list(engines)
        self._current = {engine.manifest.name: self._current[engine.manifest.name] for engine in engines}

    @property
    def default(self) -> Engine:
        """What a call without a name means."""
        return next(iter(self._current.values()))

    @property
    def names(self) -> Collection[str]:
        """Of all that are served, whatever the version."""
        return self._current.keys()

    @property
    def unready(self) -> list[Engine]:
        """Those that cannot serve now."""
        return [engine for engine in self.engines if engine.state is not State.READY]

    @property
    def titles(self) -> tuple[str, ...]:
        """What gateways are told, current versions first."""
        told = [engine for engine in self.engines if engine not in self.leaving]
        return tuple(engine.title for engine in sorted(told, key=lambda engine: not self.is_current(engine)))

    def is_current(self, engine: Engine) -> bool:
        """Whether it answers calls that name its model and no version."""
        return self._current.get(engine.manifest.name) is engine

    def current(self, name: str) -> Engine | None:
        """What a call for the model that names no version means; None: the model is not served."""
        return self._current.get(name)

    def versions(self, name: str) -> list[Engine]:
        """All versions of a model, the newest first. Raises NotFound."""
        found = [engine for engine in self.engines if engine.manifest.name == name]
        if not found:
            self._refuse_gone(name)
            raise NotFound(f"there is no model {name[:64]!r} here")
        return sorted(found, key=lambda engine: age(engine.manifest.version), reverse=True)

    def find(self, name: str, version: str = "", label: str = "") -> Engine:
        """The engine that is meant. Raises NotFound, or NodeBusy for what left a moment ago."""
        if label:
            raise NotFound("no version here has a label")
        if not name:
            return self.default
        versions = self.versions(name)
        if not version:
            return self._current[name]
        for engine in versions:
            if engine.manifest.version == version:
                return engine
        self._refuse_gone(f"{name}@{version}")
        raise NotFound(f"model {name} has no version {version[:64]!r} here")

    def add(self, engine: Engine) -> None:
        """Serve it beside the others of its model."""
        if engine not in self.engines:
            self.engines.append(engine)
        self.leaving.discard(engine)
        self._current.setdefault(engine.manifest.name, engine)
        self.failures.pop(engine.title, None)
        self._gone.pop(engine.title, None)
        self._gone.pop(engine.manifest.name, None)

    def switch(self, engine: Engine) -> None:
        """From this moment its model means it; requests that found another one are finished there."""
        self.add(engine)
        self._current[engine.manifest.name] = engine

    def remove(self, engine: Engine) -> None:
        """Nothing finds it any more. The newest version that is left, if any, becomes current in its place."""
        name = engine.manifest.name
        self.engines.remove(engine)
        self.leaving.discard(engine)
        self._gone[engine.title] = monotonic()
        rest = [each for each in self.engines if each.manifest.name == name]
        if not rest:
            del self._current[name]
            self._gone[name] = monotonic()
        elif self.is_current(engine):
            self._current[name] = max(rest, key=lambda each: age(each.manifest.version))

    def _refuse_gone(self, title: str) -> None:
        """Not here, but perhaps elsewhere: a gateway should try another node."""
        now = monotonic()
        self._gone = {each: at for each, at in self._gone.items() if now - at < _REMEMBERED_SECONDS}
        if title in self._gone:
            raise NodeBusy(f"{title[:200]} has just left this node")
