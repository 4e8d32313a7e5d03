"""What a frozen model costs on this machine: the prior that the gateway predicts with until it has learned better.

Needs TensorFlow: import this only where a graph is made.
"""

from __future__ import annotations

import io
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from repository.graph import Frozen, GraphDef
from repository.manifest import CostPrior, Precision, Preprocessing, TensorSpec
from repository.reference import row
from repository.running import session_config

Array = NDArray[Any]
Run = Callable[[Sequence[Array]], Sequence[Array]]
v1 = tf.compat.v1
MEGAPIXELS = 2.0  # of the picture that is decoded: big enough that fixed costs do not show
FORMATS = {"jpeg": {"quality": 85}, "png": {"compress_level": 6}, "webp": {"quality": 80, "method": 0}}
SAVERS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def cost(
    frozen: Frozen, buckets: Sequence[int], steps: Preprocessing | None, precision: Precision = "float32"
) -> CostPrior:
    """Run every bucket, decode a picture of every usual format: the best of some tries, in milliseconds."""
    return CostPrior(
        machine=_machine(),
        infer_ms=inference(frozen, buckets or (1,), precision),
        decode_ms_per_megapixel=decoding(steps) if steps else {},
    )


def inference(frozen: Frozen, buckets: Sequence[int], precision: Precision) -> dict[int, float]:
    """Milliseconds of one warm run by batch size, on one thread; empty when a shape is not known."""
    if any(side is None for spec in frozen.inputs for side in spec.shape[1:]):
        return {}
    feeds, fetches = [spec.tensor for spec in frozen.inputs], [spec.tensor for spec in frozen.outputs]
    costs = {}
    with running(frozen.graph, feeds, fetches, precision=precision) as run:
        for size in buckets:
            rows = [ones(spec, size) for spec in frozen.inputs]
            costs[size] = round(_best_ms(partial(run, rows), repeats=5), 2)
    return costs


@contextmanager
def running(
    graph: GraphDef,
    feeds: Sequence[str],
    fetches: Sequence[str],
    *,
    optimised: bool = True,
    precision: Precision = "float32",
) -> Iterator[Run]:
    """The graph as a function of the tensors `feeds` in order, on one thread."""
    with tf.Graph().as_default() as built:
        tf.import_graph_def(graph, name="")
    config = session_config(1, 1, optimised=optimised, precision=precision)
    with closing(v1.Session(graph=built, config=config)) as session:  # not as the default: that turns eager calls off
        call = session.make_callable(list(fetches), feed_list=list(feeds))
        yield lambda arrays: call(*arrays)


def ones(spec: TensorSpec, rows: int) -> Array:
    """A harmless value for an input, `rows` long where its batch is free."""
    shape = tuple(rows if side is None else side for side in spec.shape)
    if spec.dtype == "string":
        return np.full(shape, b"", dtype=object)
    return np.ones(shape, tf.as_dtype(spec.dtype).as_numpy_dtype)


def decoding(steps: Preprocessing) -> dict[str, float]:
    """Milliseconds per megapixel from bytes to a row of input, by format, with Pillow."""
    picture = scene(MEGAPIXELS)
    costs = {}
    for name, options in FORMATS.items():
        data = io.BytesIO()
        picture.save(data, SAVERS[name], **options)
        costs[name] = round(_best_ms(partial(_decode, data, steps), repeats=3) / MEGAPIXELS, 2)
    return costs


def _decode(data: io.BytesIO, steps: Preprocessing) -> NDArray[np.float32]:
    data.seek(0)
    return row(Image.open(data), steps)


def scene(megapixels: float, seed: int = 0) -> Image.Image:
    """A picture that compresses like a photograph: soft shapes under fine grain, the same for the same seed."""
    chance = np.random.default_rng(seed)
    height, width = round((megapixels * 1e6 / 1.5) ** 0.5), round((megapixels * 1e6 * 1.5) ** 0.5)
    shapes = Image.fromarray(chance.integers(0, 256, (24, 36, 3), np.uint8)).resize((width, height))
    grain = chance.normal(0, 4, (height, width, 1))
    return Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8))


def _best_ms(action: Callable[[], object], repeats: int) -> float:
    """The shortest of some tries after a first: what else the machine does can only add to it."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def _machine() -> str:
    """Processor and its cores, for whoever compares two priors."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"
