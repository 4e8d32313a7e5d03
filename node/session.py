"""A frozen model kept warm: loaded once, every batch size it will serve run once, then ready until closed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from node.gently import gently as run_gently
from repository.manifest import Manifest, TensorSpec, load, read_file, read_labels
from wire.errors import BadRequest

if TYPE_CHECKING:
    from node.runner import Runner

Array = NDArray[Any]
T = TypeVar("T")


class Session:
    """The warm model behind a node. `run` blocks: call it from a worker thread, from several at once if you like."""

    def __init__(self, manifest: Manifest, labels: tuple[str, ...], runner: Runner, buckets: Sequence[int]) -> None:
        self.manifest = manifest
        self.labels = labels
        self.device = runner.device
        self.buckets = tuple(buckets)
        self._runner = runner

    @classmethod
    def load(
        cls,
        artefact: Path,
        threads: int = 1,
        runners: int = 1,
        *,
        device: Literal["auto", "cpu", "gpu"] = "auto",
        max_rows: int | None = None,
        gently: bool = False,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Session:
        """Verify and load an artefact, then run every bucket; returns only when warm. Blocks for seconds.

        `threads` are the cores it may use, `runners` how many calls of `run` it expects at once; more calls are
        served, but share the cores. `max_rows` leaves out larger batch buckets. `gently` takes only the processor
        time that others leave, as far as it can. Raises `ArtefactError` for an artefact that must not or cannot be
        served.
        """
        having_done: Callable[[Callable[[], T]], T] = run_gently if gently else _at_once
        manifest = having_done(partial(load, artefact))
        progress(f"loading {manifest.name} {manifest.version}")
        graph = having_done(partial(read_file, artefact, manifest, manifest.graph))
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors: the node has its own log
        from node.runner import Runner, give_memory_back  # noqa: PLC0415 - imports TensorFlow

        runner = Runner(graph, manifest, threads, runners, device)
        smallest = manifest.batch_buckets[:1]
        buckets = [size for size in manifest.batch_buckets if max_rows is None or size <= max_rows] or smallest
        session = cls(manifest, read_labels(artefact, manifest), runner, buckets)
        try:
            having_done(partial(session._warm, progress))
        except BaseException:
            runner.close()
            raise
        if not gently:
            give_memory_back()  # the allocator stands still meanwhile; what stays is used by the next load
        return session

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answers for all rows of `inputs`, by output name.

        Rows run in the next larger bucket, filled up with copies of the last row, and answers are cut to the rows
        asked for: a shape that was not warmed costs time and memory that TensorFlow never gives back. More rows
        than the largest bucket run in several steps. Raises `BadRequest` for inputs the model does not take,
        `ModelFailed` when the graph fails. NaN is an answer like any other.
        """
        arrays = checked(self.manifest, inputs)
        if not self.buckets:
            return self._named(self._runner.run(arrays))
        rows, largest = len(arrays[0]), self.buckets[-1]
        parts = [self._run_padded([a[start : start + largest] for a in arrays]) for start in range(0, rows, largest)]
        return self._named(
            parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        )

    def probe(self) -> None:
        """Run one harmless row: tells a sick session (`ModelFailed`) from a request that no session can serve."""
        self._runner.run(self._example(1, (*self.manifest.sides, 1)[0]))

    def close(self) -> None:
        """Free the model; a run still in progress fails, so finish first."""
        self._runner.close()

    def __repr__(self) -> str:
        return f"<Session {self.manifest.name} {self.manifest.version} {self.device} {list(self.buckets)}>"

    def _run_padded(self, arrays: list[Array]) -> list[Array]:
        rows = len(arrays[0])
        missing = next(size for size in self.buckets if size >= rows) - rows
        if missing == 0:
            return self._runner.run(arrays)
        return [answer[:rows] for answer in self._runner.run([_filled_up(array, missing) for array in arrays])]

    def _named(self, answers: list[Array]) -> dict[str, Array]:
        return {spec.name: answer for spec, answer in zip(self.manifest.outputs, answers, strict=True)}

    def _warm(self, progress: Callable[[str], None]) -> None:
        self._runner.prepare()
        for side in self.manifest.sides or (1,):
            for size in self.buckets or (1,):
                progress(f"warming up, batch {size}" + (f", side {side}" if self.manifest.sides else ""))
                self._runner.run(self._example(size, side))

    def _example(self, rows: int, side: int = 1) -> list[Array]:
        return [self._runner.example(spec, self._shape(spec, rows, side)) for spec in self.manifest.inputs]

    def _shape(self, spec: TensorSpec, rows: int, free: int) -> list[int]:
        """The shape that will be served: free sides as the preprocessing makes them, else `free`."""
        steps = self.manifest.preprocessing
        served: tuple[int, ...] = ()
        if steps is not None and steps.input == spec.name:
            height, width = steps.height, steps.width
            served = (rows, height, width, 3) if steps.layout == "NHWC" else (rows, 3, height, width)
        return [
            side if side is not None else (served[axis] if served else (rows if axis == 0 else free))
            for axis, side in enumerate(spec.shape)
        ]


def _filled_up(array: Array, missing: int) -> Array:
    """With copies of the last row, in one pass that leaves the interpreter to others (`np.repeat` holds it)."""
    rows = len(array)
    full = np.empty((rows + missing, *array.shape[1:]), array.dtype)
    full[:rows] = array
    full[rows:] = array[-1:]
    return full


def _at_once(work: Callable[[], T]) -> T:
    return work()


def checked(manifest: Manifest, inputs: Mapping[str, Array]) -> list[Array]:
    """The inputs in the manifest's order, every name, dtype and shape as it says; raises `BadRequest`."""
    known = ", ".join(f"{spec.name} ({spec.dtype} {_shown(spec.shape)})" for spec in manifest.inputs)
    for name in inputs:
        if manifest.input(name) is None:
            raise BadRequest(f"unknown input {name!r}; the model takes {known}")
    for spec in manifest.inputs:
        if spec.name not in inputs:
            raise BadRequest(f"input {spec.name!r} is missing; the model takes {known}")
    arrays = [_checked_array(spec, inputs[spec.name]) for spec in manifest.inputs]
    if manifest.batch_buckets and len({len(array) for array in arrays}) > 1:
        raise BadRequest("the inputs differ in their number of rows")
    return arrays


def _checked_array(spec: TensorSpec, array: Array) -> Array:
    right_type = array.dtype.kind in "OS" if spec.dtype == "string" else array.dtype.name == spec.dtype
    if not right_type:
        raise BadRequest(f"input {spec.name!r} is {array.dtype.name}, the model takes {spec.dtype}")
    fits = len(array.shape) == len(spec.shape) and all(
        want in (None, have) for have, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise BadRequest(f"input {spec.name!r} has shape {_shown(array.shape)}, the model takes {_shown(spec.shape)}")
    if array.size == 0:
        raise BadRequest(f"input {spec.name!r} is empty: shape {_shown(array.shape)}")
    return np.ascontiguousarray(array)


def _shown(shape: Sequence[int | None]) -> str:
    """As the Open Inference Protocol writes shapes: a free side is -1."""
    return str([-1 if side is None else side for side in shape])
