"""BentoML: a worker process per core, adaptive batching. `bentoml serve loadtest.serving.programs.bento:Classifier`

A batchable call takes a list of files: every request is a form with one image, and its answer a list of one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from loadtest.serving.model import MOST_ROWS, Model


@bentoml.service(workers=len(os.sched_getaffinity(0)), traffic={"timeout": 60}, metrics={"enabled": True})
class Classifier:
    """One warm model per worker."""

    def __init__(self) -> None:
        self._model = Model(max_rows=MOST_ROWS)

    @bentoml.api(batchable=True, max_batch_size=MOST_ROWS, max_latency_ms=60_000)
    def classify(self, images: list[Path]) -> list[list[dict[str, Any]]]:
        """A batch of images."""
        return self._model.run([self._model.decode(image.read_bytes()) for image in images])
