"""LitServe: a worker process per core, batches collected by the worker, responses over its faster queue.

python -m loadtest.serving.programs.lit PORT. Its requests are JSON or forms: the image comes as a form's file.
"""

# Without `from __future__ import annotations`: LitServe compares the annotation of `request` with the class itself.
import os
import sys
from typing import Any

import litserve
from fastapi import Request

from loadtest.serving.model import MOST_ROWS, Model


class Classifier(litserve.LitAPI):
    """One warm model per worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - its interface
        """In the worker."""
        self._model = Model(max_rows=MOST_ROWS)

    def decode_request(self, request: Request) -> Any:
        """A form's file becomes a row."""
        return self._model.decode(request["image"].file.read())

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Rows as they are: the model joins them."""
        return inputs

    def predict(self, x: list[Any]) -> list[Any]:
        """One batch."""
        return self._model.run(x)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """It is a list already."""
        return output

    def encode_response(self, output: Any) -> Any:
        """The plain endpoint's answer."""
        return output


def main(port: int) -> None:
    """Serve until SIGTERM."""
    server = litserve.LitServer(
        Classifier(max_batch_size=MOST_ROWS, batch_timeout=0.002),
        accelerator="cpu",
        workers_per_device=len(os.sched_getaffinity(0)),
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
