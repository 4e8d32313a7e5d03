"""The model repository on disk, `<root>/<model>/<version>/`: what lies there whole, and which of it is newest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from node.config import Models as Options
from repository.manifest import MANIFEST, ArtefactError

# Told apart by it: whether a version was written again after it had failed.
Mark: TypeAlias = tuple[int, int, int]
Found: TypeAlias = Mapping[str, Mapping[str, Mark]]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def age(version: str) -> tuple[int, str]:
    """Sorts versions, the oldest first: numbers by their value, above words."""
    return (int(version), "") if version.isdigit() else (-1, version)


def artefacts(options: Options) -> list[Path]:
    """The directories to serve. Raises ArtefactError when there are none."""
    if options.artefacts:
        return [Path(path) for path in options.artefacts]
    root = Path(options.root)
    names = options.names or sorted(_subdirectories(root))
    if not names:
        raise ArtefactError(f"{root} holds no model: freeze one, or name its directory with models.artefacts")
    return [_in_root(root, name) for name in names]


def followed(options: Options) -> list[str] | None:
    """The models of the root whose newest version is served, whatever it is; None: all that ever lie there."""
    if options.artefacts:
        return []
    return [name for name in options.names if "@" not in name] if options.names else None


def find(root: Path, names: Sequence[str] | None) -> Found:
    """The whole versions of `names`, or of all models. A version is whole once it has a manifest: that comes last."""
    found = {}
    for name in _subdirectories(root) if names is None else names:
        marks = {version: mark(root / name / version) for version in _subdirectories(root / name)}
        found[name] = {version: seen for version, seen in marks.items() if seen is not None}
    return found


def mark(artefact: Path) -> Mark | None:
    """What the manifest's file is now; None when there is none."""
    try:
        status = (artefact / MANIFEST).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def newest(versions: Mapping[str, Mark], failed: Mapping[str, Mark]) -> str:
    """The version to serve: the newest that has not failed since it was written; "" when there is none."""
    return max((version for version, seen in versions.items() if failed.get(version) != seen), key=age, default="")


def is_name(text: str) -> bool:
    """Whether a model or version may be called so; no other name ever becomes a path."""
    return _NAME.fullmatch(text) is not None


def older(artefact: Path) -> list[Path]:
    """The whole versions beside `artefact` that come before it, newest first."""
    found = find(artefact.parent.parent, [artefact.parent.name])[artefact.parent.name]
    before = sorted((version for version in found if age(version) < age(artefact.name)), key=age, reverse=True)
    return [artefact.parent / version for version in before]


def _in_root(root: Path, name: str) -> Path:
    model, _, version = name.partition("@")
    if version:
        return root / model / version
    best = newest(find(root, [model])[model], {})
    if not best:
        raise ArtefactError(f"{root / model} holds no whole version")
    return root / model / best


def _subdirectories(place: Path) -> list[str]:
    try:
        return [entry.name for entry in place.iterdir() if is_name(entry.name) and entry.is_dir()]
    except OSError:
        return []
