"""Which kind of source a path is, and opening it. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repository.keras_source import open_keras
from repository.manifest import ArtefactError
from repository.recipe import Wanted
from repository.session_source import open_checkpoint, open_graph, open_saved_model
from repository.source import Source

KINDS = {
    "keras": open_keras,
    "saved_model": open_saved_model,
    "checkpoint": open_checkpoint,
    "graph": open_graph,
}


@contextmanager
def opened(path: Path, wanted: Wanted) -> Iterator[Source]:
    """The source at `path`, with its variables folded; raises `ArtefactError` with one clear line."""
    place = normal(path)
    with KINDS[kind(place)](place, wanted) as source:
        yield source


def kind(path: Path) -> str:
    """A key of `KINDS`; raises `ArtefactError`."""
    if not path.exists():
        raise ArtefactError(f"{path} does not exist")
    if path.is_dir():
        if (path / "saved_model.pb").exists():
            return "saved_model"
        raise ArtefactError(f"{path} holds no saved_model.pb; a checkpoint is named by its .meta file")
    kinds = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".meta": "checkpoint", ".pb": "graph"}
    if path.suffix not in kinds:
        raise ArtefactError(f"{path}: not a .keras, .h5, .meta or .pb file, nor a SavedModel's directory")
    return kinds[path.suffix]


def normal(path: Path) -> Path:
    """What is meant by a file inside a SavedModel, or by a checkpoint's index or data."""
    if path.name == "saved_model.pb":
        return path.parent
    if path.suffix == ".index" or ".data-" in path.name:
        return path.with_name(path.name.partition(".index")[0].partition(".data-")[0] + ".meta")
    return path
