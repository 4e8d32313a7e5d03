"""The packaged model as every contender runs it: the node's own decoding and the node's own call of the graph.

What differs between the contenders is then the serving alone. Told to, it decodes as their own tutorials do: Pillow
opens and converts the whole picture. Runs wherever numpy, Pillow and TensorFlow are.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from node import ranking
from node.images import Reader, guard_pillow
from repository.manifest import load, read_file, read_labels

ARTEFACT = "SERVING_ARTEFACT"  # the environment's name for where the frozen model lies
PLAIN = "SERVING_PLAIN_PILLOW"  # the environment's name for decoding as tutorials do; empty: as the node does
MOST_ROWS = 4  # of a batch: on one thread two rows cost 5 % less each than one, eight cost 7 % more
_MOST_PIXELS = 50_000_000  # a light node's own limits
_MOST_SCANS = 100
_JPEG_MARGIN = 2.0


class Model:
    """One thread of TensorFlow per caller, `runners` callers; batches up to `max_rows` are warm when it is there."""

    def __init__(self, runners: int = 1, max_rows: int = 1, artefact: str = "") -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from node.runner import Runner  # noqa: PLC0415 - imports TensorFlow

        place = Path(artefact or os.environ[ARTEFACT])
        manifest = load(place)
        assert manifest.preprocessing is not None
        self._steps = manifest.preprocessing
        self._labels = read_labels(place, manifest)
        self._plain = bool(os.environ.get(PLAIN))
        self._reader = Reader(_MOST_PIXELS, _MOST_SCANS, _JPEG_MARGIN)
        guard_pillow(_MOST_PIXELS)
        self._runner = Runner(read_file(place, manifest, manifest.graph), manifest, runners, runners, "cpu")
        self._runner.prepare()
        for rows in range(2, max_rows + 1):
            self._runner.run([np.zeros((rows, self._steps.height, self._steps.width, 3), np.float32)])

    def decode(self, image: bytes) -> NDArray[np.float32]:
        """One row of the model's input."""
        if self._plain:
            return self._decode_in_full(image)
        return self._reader.read(image, self._reader.look(image), self._steps)

    def run(self, rows: Sequence[NDArray[np.float32]]) -> list[list[dict[str, Any]]]:
        """The answer of the plain endpoint to each row, all rows in one batch of exactly that size."""
        (scores,) = self._runner.run([np.stack(rows)])
        return [
            [{"label": label, "score": score} for label, score in ranking.best(row, self._labels, 5)] for row in scores
        ]

    def _decode_in_full(self, image: bytes) -> NDArray[np.float32]:
        """The manifest's steps, as they stand there."""
        steps = self._steps
        picture = Image.open(io.BytesIO(image)).convert("RGB")
        side = steps.crop_share * min(picture.size)
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        view, filter_ = (left, top, left + side, top + side), Image.Resampling[steps.filter.upper()]
        pixels = np.asarray(picture.resize((steps.width, steps.height), filter_, box=view), np.float32)
        row = (pixels - np.array(steps.mean, np.float32)) / np.array(steps.std, np.float32)
        return row.astype(np.float32, copy=False)

    def answer(self, image: bytes) -> list[dict[str, Any]]:
        """From the bytes of one image to its answer."""
        return self.run([self.decode(image)])[0]
