"""mosec: a worker process per core, each decodes and runs what its batcher hands it.

python -m loadtest.serving.programs.mosec_server --port PORT … (mosec reads the arguments itself). Decoding in a stage
of its own, as in its ResNet example, would send 600 KB per image from process to process.
"""

from __future__ import annotations

import os
from typing import Any

import mosec

from loadtest.serving.model import MOST_ROWS, Model


class Classifier(mosec.Worker):
    """One warm model."""

    def __init__(self) -> None:
        super().__init__()
        self._model = Model(max_rows=MOST_ROWS)

    def deserialize(self, data: bytes) -> Any:
        """One image, raw in the body, becomes a row."""
        return self._model.decode(data)

    def forward(self, data: list[Any]) -> list[Any]:
        """One batch."""
        return self._model.run(data)


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(
        Classifier, num=len(os.sched_getaffinity(0)), max_batch_size=MOST_ROWS, max_wait_time=1, route="/v1/predict"
    )
    server.run()
