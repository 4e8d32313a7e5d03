"""Ray Serve: a replica of one CPU per core, batches by `serve.batch`, in its throughput-optimised mode.

python -m loadtest.serving.programs.ray_serve PORT. Images are decoded in the replica's threads, so that its event loop
goes on, as its page on asyncio advises; the batch waits for nobody (0 s), which was best at every load tried.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from loadtest.serving.model import MOST_ROWS, Model

CORES = len(os.sched_getaffinity(0))


@serve.deployment(num_replicas=CORES, max_ongoing_requests=32, ray_actor_options={"num_cpus": 1})
class Classifier:
    """One warm model."""

    def __init__(self) -> None:
        self._model = Model(max_rows=MOST_ROWS)

    @serve.batch(max_batch_size=MOST_ROWS, batch_wait_timeout_s=0.0)
    async def classify(self, rows: list[Any]) -> list[Any]:
        """A batch of decoded images."""
        return await asyncio.to_thread(self._model.run, rows)

    async def __call__(self, request: Request) -> Any:
        """One image, raw in the body."""
        return await self.classify(await asyncio.to_thread(self._model.decode, await request.body()))


def main(port: int) -> None:
    """Serve until SIGTERM."""
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    application: Any = Classifier
    serve.run(application.bind(), logging_config={"enable_access_log": False})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
