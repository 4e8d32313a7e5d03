"""Frozen against source: the same inputs, and answers that may differ by a stated tolerance only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repository.manifest import ArtefactError, Preprocessing, TensorSpec
from repository.reference import row

Array = NDArray[Any]
Run = Callable[[Sequence[Array]], Sequence[Array]]
ROWS = 4  # random rows, where there is no picture


class Verdict(NamedTuple):
    """How near the frozen graph is to its source. `largest` is relative to the largest value above 1."""

    what: str
    largest: float
    tolerance: float
    same_top: str


def examples(
    inputs: Sequence[TensorSpec], steps: Preprocessing | None, pictures: Sequence[Image.Image]
) -> list[list[Array]]:
    """Batches of input: one of all rows where the batch is free, else one for each picture."""
    count = len(pictures) if steps else ROWS
    rows = {} if steps is None else {steps.input: np.stack([row(picture, steps) for picture in pictures])}
    chance = np.random.default_rng(0)
    if all(spec.shape[:1] == (None,) for spec in inputs):
        return [[_rows(spec, rows.get(spec.name), count, chance) for spec in inputs]]
    single = [{name: values[i : i + 1] for name, values in rows.items()} for i in range(count)]
    return [[_rows(spec, part.get(spec.name), 1, chance) for spec in inputs] for part in single]


def read_pictures(paths: Sequence[Path]) -> list[Image.Image]:
    """Photographs as RGB; raises `ArtefactError`."""
    pictures = []
    for path in paths:
        try:
            pictures.append(Image.open(path).convert("RGB"))
        except OSError as error:
            raise ArtefactError(f"{path}: {error}") from error
    return pictures


def compare(
    source: Run, frozen: Run, batches: Sequence[Sequence[Array]], tolerance: float, scores: int | None
) -> tuple[float, str]:
    """The largest difference and how many rows agree on the best of output number `scores`.

    Raises `ArtefactError` when the answers differ by more than `tolerance`, or the source disagrees with itself.
    """
    largest, agreeing, rows = 0.0, 0, 0
    for batch in batches:
        truth, again, answers = source(batch), source(batch), frozen(batch)
        if max(map(difference, truth, again)) > tolerance:
            raise ArtefactError("the source answers the same input differently each time: is it in training mode?")
        largest = max(largest, *map(difference, truth, answers))
        if scores is not None:
            same = _agreeing(truth[scores], answers[scores], tolerance)
            agreeing, rows = agreeing + int(same.sum()), rows + same.size
    if largest > tolerance:
        raise ArtefactError(f"the frozen graph differs from its source by {largest:.2g}, allowed is {tolerance:g}")
    if agreeing < rows:
        raise ArtefactError(f"the best label differs from the source's in {rows - agreeing} of {rows} rows")
    return largest, f"{agreeing} of {rows}" if rows else ""


def difference(truth: Array, answer: Array) -> float:
    """Largest difference relative to the largest value, or absolute below 1; infinite for other shapes or texts."""
    truth, answer = np.asarray(truth), np.asarray(answer)
    if truth.shape != answer.shape or truth.dtype != answer.dtype:
        return float("inf")
    if truth.dtype.kind not in "iufb" and truth.dtype.name != "bfloat16":
        return 0.0 if (truth == answer).all() else float("inf")
    first, second = truth.astype(np.float64), answer.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    if same.all():
        return 0.0
    if not np.isfinite(second[~same]).all() or not np.isfinite(first[~same]).all():
        return float("inf")
    scale = max(1.0, float(np.abs(first[np.isfinite(first)]).max()))
    return float(np.abs(first - second)[~same].max()) / scale


def rows_are_independent(run: Run, batch: Sequence[Array], tolerance: float) -> bool:
    """Whether every row is answered as if it were alone: only then may strangers' rows share a batch."""
    together = run(batch)
    for index in range(len(batch[0])):
        alone = run([array[index : index + 1] for array in batch])
        for whole, single in zip(together, alone, strict=True):
            if len(single) != 1 or len(whole) != len(batch[0]):
                return False
            if difference(whole[index : index + 1], single) > tolerance:
                return False
    return True


def _agreeing(truth: Array, answer: Array, tolerance: float) -> Array:
    """Rows with the same best label; a tie within the tolerance counts as agreement."""
    flat, other = truth.reshape(-1, truth.shape[-1]), answer.reshape(-1, answer.shape[-1])
    chosen = np.take_along_axis(flat, other.argmax(axis=1)[:, None], axis=1)[:, 0]
    agreeing: Array = flat.max(axis=1) - chosen <= tolerance
    return agreeing


def _rows(spec: TensorSpec, rows: Array | None, count: int, chance: np.random.Generator) -> Array:
    if rows is not None:
        whole = spec.shape[0] or len(rows)
        return np.resize(rows, (whole, *rows.shape[1:])).astype(spec.dtype)
    shape = [side or (count if axis == 0 else 1) for axis, side in enumerate(spec.shape)]
    if spec.dtype == "string":
        return np.full(shape, b"text", dtype=object)
    if spec.dtype == "bool":
        return chance.integers(0, 2, shape).astype(bool)
    if "int" in spec.dtype:
        return chance.integers(0, 2 if spec.dtype != "uint8" else 256, shape).astype(spec.dtype)
    return chance.normal(size=shape).astype(spec.dtype)
