"""From a source to an artefact: freeze, strip, optimise, compare with the source, measure, write. Needs TensorFlow."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import tensorflow as tf

from repository import compare, measure
from repository.fold import fold_norms
from repository.graph import Frozen, renamed, serialise
from repository.manifest import (
    GRAPH,
    LABELS,
    ArtefactError,
    Manifest,
    Precision,
    Preprocessing,
    TensorSpec,
    read_labels,
    write,
)
from repository.optimise import optimise
from repository.recipe import Recipe
from repository.running import has_bfloat16
from repository.source import Array, Source, complete, first_line
from repository.sources import opened
from repository.suspects import refuse_frozen

TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.03}
BUCKETS = (1, 2, 4, 8)  # 16 costs 100 MB more in every node and gains nothing on a CPU


class Report(msgspec.Struct, frozen=True):
    """What became of it."""

    kind: str
    nodes_before: int
    nodes_after: int
    manifest: Manifest
    verdict: compare.Verdict


def freeze(recipe: Recipe, progress: Callable[[str], None]) -> Report:
    """Make the artefact `recipe.target`; raises `ArtefactError` with one clear line, and then leaves nothing behind."""
    if recipe.target.exists():
        raise ArtefactError(f"{recipe.target} exists already: a version is never changed, give it a new number")
    if recipe.precision == "bfloat16" and not has_bfloat16():
        raise ArtefactError("this processor has no bfloat16: it cannot be checked here")
    tf.get_logger().setLevel("ERROR")
    progress(f"reading {recipe.source}")
    try:
        return _freeze(recipe, progress)
    except tf.errors.OpError as error:
        raise ArtefactError(f"the graph fails: {first_line(error)}") from error


def _freeze(recipe: Recipe, progress: Callable[[str], None]) -> Report:
    with opened(recipe.source, recipe.wanted) as source:
        frozen = complete(source, recipe.wanted)
        if recipe.preprocessing is not None:
            steps = _settled(recipe.preprocessing, frozen.inputs)
            recipe = msgspec.structs.replace(recipe, preprocessing=steps)
            frozen = complete(source, recipe.wanted, {steps.input: _picture_shape(steps, frozen.inputs)})
        refuse_frozen(frozen.graph, trust=recipe.wanted.trust)
        progress("optimising")
        lean = renamed(fold_norms(optimise(frozen)))
        progress("comparing with the source")
        verdict, buckets = _checked(recipe, source, frozen, lean)
    manifest = _write(recipe, source.kind, lean, buckets, progress)
    return Report(source.kind, len(source.graph.node), len(lean.graph.node), manifest, verdict)


def _checked(recipe: Recipe, source: Source, frozen: Frozen, lean: Frozen) -> tuple[compare.Verdict, tuple[int, ...]]:
    tolerance = TOLERANCE[recipe.precision] if recipe.tolerance is None else recipe.tolerance
    steps = recipe.preprocessing
    pictures = compare.read_pictures(recipe.images) or [measure.scene(0.2, seed) for seed in range(compare.ROWS)]
    batches = compare.examples(lean.inputs, steps, pictures)
    feeds, fetches = _tensors(lean)
    with measure.running(lean.graph, feeds, fetches, precision=recipe.precision) as run:
        scores = _scores(recipe, lean)
        largest, same_top = compare.compare(partial(_run, source, frozen), run, batches, tolerance, scores)
        buckets = _buckets(recipe, lean, partial(compare.rows_are_independent, run, batches[0], tolerance))
    kind = "random rows" if steps is None else "photographs" if recipe.images else "drawn pictures"
    count = sum(len(batch[0]) if lean.inputs[0].shape else 1 for batch in batches)
    return compare.Verdict(f"{count} {kind}", largest, tolerance, same_top), buckets


def _settled(steps: Preprocessing, inputs: Sequence[TensorSpec]) -> Preprocessing:
    """The preprocessing with its input and layout found out, where the user did not say."""
    pictures = [spec for spec in inputs if len(spec.shape) == 4 and 3 in (spec.shape[1], spec.shape[3])]
    named = [spec for spec in pictures if steps.input in ("", spec.name)]
    if len(named) != 1:
        known = ", ".join(f"{spec.name} {spec.shape}" for spec in inputs)
        raise ArtefactError(f"which input takes the picture? say so with --image-input; there are {known}")
    layout: Literal["NHWC", "NCHW"] = "NHWC" if named[0].shape[3] == 3 else "NCHW"
    return msgspec.structs.replace(steps, input=named[0].name, layout=layout)


def _picture_shape(steps: Preprocessing, inputs: Sequence[TensorSpec]) -> tuple[int | None, ...]:
    """The input's own batch, and the one size that pictures are brought to: every new size costs memory for good."""
    batch = next(spec.shape[0] for spec in inputs if spec.name == steps.input)
    nhwc = (batch, steps.height, steps.width, 3)
    return nhwc if steps.layout == "NHWC" else (batch, 3, steps.height, steps.width)


def _run(source: Source, frozen: Frozen, arrays: Sequence[Array]) -> Sequence[Array]:
    feeds, fetches = _tensors(frozen)
    return source.run(dict(zip(feeds, arrays, strict=True)), fetches)


def _tensors(frozen: Frozen) -> tuple[list[str], list[str]]:
    return [spec.tensor for spec in frozen.inputs], [spec.tensor for spec in frozen.outputs]


def _buckets(recipe: Recipe, lean: Frozen, independent: Callable[[], bool]) -> tuple[int, ...]:
    """Batch sizes that will be served: none unless every row is answered as if alone."""
    batched = all(spec.shape[:1] == (None,) for spec in (*lean.inputs, *lean.outputs))
    wanted = recipe.buckets
    if wanted == () or (wanted is None and not batched):
        return ()
    if not batched:
        raise ArtefactError("the graph has no free batch: leave --buckets out")
    if independent():
        return wanted or BUCKETS
    if wanted:
        raise ArtefactError("rows of one batch change each other's answers: no --buckets for this graph")
    return ()


def _scores(recipe: Recipe, lean: Frozen) -> int | None:
    """The number of the output that the labels name."""
    if recipe.labels is None:
        return None
    names = [spec.name for spec in lean.outputs]
    wanted = recipe.label_output or names[0]
    if wanted not in names:
        raise ArtefactError(f"no output {wanted!r} for the labels; there are {', '.join(names)}")
    return names.index(wanted)


def _write(
    recipe: Recipe, kind: str, lean: Frozen, buckets: tuple[int, ...], progress: Callable[[str], None]
) -> Manifest:
    scores = _scores(recipe, lean)
    progress("measuring what it costs on this machine")
    manifest = Manifest(
        name=recipe.name,
        version=recipe.version,
        inputs=lean.inputs,
        outputs=lean.outputs,
        tensorflow=tf.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=f"{kind} {recipe.source.name}",
        licence=recipe.licence,
        optimised=True,
        precision=recipe.precision,
        preprocessing=recipe.preprocessing,
        labels=LABELS if scores is not None else "",
        label_output=lean.outputs[scores].name if scores is not None else "",
        batch_buckets=buckets,
        sides=recipe.sides,
        cost=measure.cost(lean, buckets, recipe.preprocessing, recipe.precision),
    )
    progress(f"writing {recipe.target}")
    try:
        recipe.target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".freezing-", dir=recipe.target.parent) as scratch:
            fresh = Path(scratch) / "fresh"
            fresh.mkdir()
            (fresh / GRAPH).write_bytes(serialise(lean))
            if recipe.labels is not None:
                (fresh / LABELS).write_text(json.dumps(_labels(recipe.labels), indent=0))
            written = write(fresh, manifest)
            read_labels(fresh, written)
            fresh.rename(recipe.target)
    except OSError as error:
        raise ArtefactError(f"{recipe.target}: {error.strerror}") from error
    return written


def _labels(path: Path) -> list[str]:
    """Class names: a JSON list, or a line each."""
    try:
        text = path.read_text()
        return msgspec.json.decode(text, type=list[str]) if text.lstrip().startswith("[") else text.splitlines()
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ArtefactError(f"{path}: {error}") from error
