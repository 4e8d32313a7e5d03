"""The models of a node: which engine a name, a version or nothing at all means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from node.config import Models as Options
from node.engine import Engine, State
from repository.manifest import ArtefactError
from wire.errors import NotFound


class Models:
    """All engines. The first is the default."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)

    @property
    def default(self) -> Engine:
        """What a call without a name means."""
        return self.engines[0]

    @property
    def unready(self) -> list[Engine]:
        """Those that cannot serve now."""
        return [engine for engine in self.engines if engine.state is not State.READY]

    def versions(self, name: str) -> list[Engine]:
        """All versions of a model, the newest first. Raises NotFound."""
        found = [engine for engine in self.engines if engine.manifest.name == name]
        if not found:
            raise NotFound(f"there is no model {name[:64]!r} here")
        return sorted(found, key=lambda engine: _age(engine.manifest.version), reverse=True)

    def find(self, name: str, version: str = "", label: str = "") -> Engine:
        """The engine that is meant. Raises NotFound."""
        if label:
            raise NotFound("no version here has a label")
        if not name:
            return self.default
        versions = self.versions(name)
        if not version:
            return versions[0]
        for engine in versions:
            if engine.manifest.version == version:
                return engine
        raise NotFound(f"model {name} has no version {version[:64]!r} here")


def artefacts(options: Options) -> list[Path]:
    """The directories to serve. Raises ArtefactError when there are none."""
    if options.artefacts:
        return [Path(path) for path in options.artefacts]
    root = Path(options.root)
    names = options.names or sorted(_subdirectories(root))
    if not names:
        raise ArtefactError(f"{root} holds no model: freeze one, or name its directory with models.artefacts")
    return [_in_root(root, name) for name in names]


def _in_root(root: Path, name: str) -> Path:
    model, _, version = name.partition("@")
    if version:
        return root / model / version
    versions = _subdirectories(root / model)
    if not versions:
        raise ArtefactError(f"{root / model} holds no version")
    return root / model / max(versions, key=_age)


def _subdirectories(place: Path) -> list[str]:
    try:
        return [entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def _age(version: str) -> tuple[int, str]:
    """Numbers by their value, above words."""
    return (int(version), "") if version.isdigit() else (-1, version)
