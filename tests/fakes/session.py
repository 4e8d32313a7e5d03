"""A session without TensorFlow: it tells the brightness of pictures, as fast, as slowly and as badly as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from repository import manifest as artefact
from repository.manifest import Manifest, Preprocessing, TensorSpec
from wire.errors import ModelFailed

SIDE = 8
LABELS = tuple(f"b{number}" for number in range(8))  # b0 is black, b7 white
POISON = 13.0  # a tensor that begins with this number cannot be run
SECONDS = 20.0  # a test that waits longer than this is stuck

Arrays = Mapping[str, np.ndarray]


@dataclass
class FakeSession:
    """See the module. `gate`, once cleared, holds every run back until it is set."""

    manifest: Manifest
    row_seconds: float = 0.0
    buckets: Sequence[int] = (1, 2, 4, 8)
    device: str = "cpu"
    gate: threading.Event = field(default_factory=threading.Event)
    broken: bool = False
    closed: bool = False
    batches: list[int] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)  # first number of every row, in the order of running
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gate.set()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        first = next(iter(inputs.values()))
        rows = first.reshape(len(first), -1).astype(np.float64)
        assert self.gate.wait(SECONDS)
        time.sleep(self.row_seconds * len(rows))
        with self._lock:
            self.batches.append(len(rows))
            self.seen += rows[:, 0].tolist()
        if self.broken or (rows[:, 0] == POISON).any():
            raise ModelFailed("it broke")
        place = np.clip(rows.mean(axis=1) / 256 * len(LABELS), 0, len(LABELS) - 1).astype(int)
        scores = np.full((len(rows), len(LABELS)), 0.01, np.float32)
        scores[np.arange(len(rows)), place] = 0.93
        return {"scores": scores}

    def probe(self) -> None:
        if self.broken:
            raise ModelFailed("it broke")

    def close(self) -> None:
        self.closed = True


def describe(name: str = "bright", version: str = "1", *, images: bool = True, labels: bool = True) -> Manifest:
    """A model of one input `picture` that takes pictures, or only tensors of two numbers."""
    shape: tuple[int | None, ...] = (None, SIDE, SIDE, 3) if images else (None, 2)
    return Manifest(
        name=name,
        version=version,
        inputs=(TensorSpec("picture", "float32", shape, "picture:0"),),
        outputs=(TensorSpec("scores", "float32", (None, len(LABELS)), "scores:0"),),
        tensorflow="none",
        created="2026-11-24T00:00:00Z",
        source="made by a test",
        licence="Apache-2.0",
        preprocessing=Preprocessing("picture", SIDE, SIDE, "stretch", 1.0, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        if images
        else None,
        labels="labels.json" if labels else "",
        label_output="scores" if labels else "",
        batch_buckets=(1, 2, 4, 8),
    )


def artefact_of(root: Path, manifest: Manifest) -> Path:
    """The artefact on disk, its graph a few bytes that nobody will read."""
    place = root / manifest.name / manifest.version
    place.mkdir(parents=True)
    (place / "graph.pb").write_bytes(b"no graph")
    if manifest.labels:
        (place / manifest.labels).write_bytes(msgspec.json.encode(LABELS))
    artefact.write(place, manifest)
    return place


class Sessions:
    """Opens fake sessions, and remembers them: the last is the one in use."""

    def __init__(self, prepare: Callable[[FakeSession], None] = lambda _: None) -> None:
        self.opened: list[FakeSession] = []
        self._prepare = prepare

    def __call__(self, place: Path, *, gently: bool = False) -> FakeSession:
        session = FakeSession(artefact.load(place))
        self._prepare(session)
        self.opened.append(session)
        return session

    def release(self) -> None:
        """Nothing is held back any more."""
        for session in self.opened:
            session.gate.set()

    @property
    def last(self) -> FakeSession:
        return self.opened[-1]
