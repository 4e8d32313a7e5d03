"""One batch where it runs, in this process or a worker: rows decoded that are not yet, joined, run, taken apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from node.images import Reader
from node.tensors import dtype_of
from node.work import Array, Arrays, Row
from repository.manifest import Manifest
from wire.errors import ModelFailed, WireError
from wire.image_header import ImageHeader

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Image:
    """A row that is still an image, and the model's other inputs for it."""

    data: Any  # bytes, or a buffer of them on its way to another process
    header: ImageHeader
    others: Arrays


Item = Image | Arrays


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of each row: its outputs, or why it was no input. Times are milliseconds."""

    rows: Sequence[Arrays | WireError]
    decode_ms: Sequence[float]  # of each row; 0 where its inputs were there
    run_ms: float  # of the batch; 0 when no row was left to run


def image_of(row: Row) -> Image:
    """Of one that is not decoded yet."""
    assert row.image is not None
    assert row.header is not None
    return Image(row.image, row.header, row.others)


def prepared(reader: Reader, manifest: Manifest, image: Image) -> Arrays:
    """The model's inputs for one image. Takes up to seconds. Raises Undecodable or TooLarge."""
    steps = manifest.preprocessing
    assert steps is not None
    spec = manifest.input(steps.input)
    assert spec is not None
    array = reader.read(image.data, image.header, steps).astype(dtype_of(spec), copy=False)
    return {steps.input: array if manifest.batch_buckets else array[np.newaxis], **image.others}


def known(error: BaseException | None) -> WireError:
    """Why an image was not prepared, in the words of the one table."""
    if isinstance(error, WireError):
        return error
    log.error("preparing an image broke", exc_info=error)
    return ModelFailed("the image could not be prepared")


def run_batch(
    run: Callable[[Mapping[str, Array]], Arrays], reader: Reader | None, manifest: Manifest, items: Sequence[Item]
) -> Ran:
    """An image that cannot be decoded leaves the others unharmed. Raises what `run` raises."""
    rows: list[Arrays | WireError] = []
    decode_ms = []
    for item in items:
        start = perf_counter()
        if isinstance(item, Image):
            assert reader is not None
            try:
                rows.append(prepared(reader, manifest, item))
            except Exception as error:  # whatever it is, it is this row's alone
                rows.append(known(error))
            decode_ms.append(_ms_since(start))
        else:
            rows.append(item)
            decode_ms.append(0.0)
    there = [place for place, row in enumerate(rows) if not isinstance(row, WireError)]
    if not there:
        return Ran(rows, decode_ms, 0.0)
    start = perf_counter()
    outputs = _run(run, manifest, [row for row in rows if not isinstance(row, WireError)])
    run_ms = _ms_since(start)
    for place, output in zip(there, outputs, strict=True):
        rows[place] = output
    return Ran(rows, decode_ms, run_ms)


def _run(run: Callable[[Mapping[str, Array]], Arrays], manifest: Manifest, rows: Sequence[Arrays]) -> Sequence[Arrays]:
    if not manifest.batch_buckets:
        return [run(rows[0])]
    outputs = run({name: _join([row[name] for row in rows]) for name in rows[0]})
    return [{name: array[place] for name, array in outputs.items()} for place in range(len(rows))]


def _join(arrays: Sequence[Array]) -> Array:
    return arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)


def _ms_since(start: float) -> float:
    return (perf_counter() - start) * 1000
