"""The floor under every server: decode and run, one image after another, with no HTTP.

python -m loadtest.serving.programs.bare THREADS. For every line `SECONDS IMAGE…` on its standard input it works so
long on those files, and prints {"answered", "seconds", "cpu_seconds"}. `ready` is its first line.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from time import perf_counter, process_time

from loadtest.serving.model import Model


def main(threads: int) -> None:
    """Until the input ends."""
    model = Model(runners=threads)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, *files = line.split()
        print(
            json.dumps(_work(model, threads, float(seconds), [Path(file).read_bytes() for file in files])), flush=True
        )


def _work(model: Model, threads: int, seconds: float, images: list[bytes]) -> dict[str, float]:
    for image in images:
        model.answer(image)
    start, cpu, counts = perf_counter(), process_time(), [0] * threads

    def work(number: int) -> None:
        while perf_counter() < start + seconds:
            # Each thread begins with another image, so that they are not in step.
            json.dumps(model.answer(images[(number * len(images) // threads + counts[number]) % len(images)]))
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"answered": sum(counts), "seconds": perf_counter() - start, "cpu_seconds": process_time() - cpu}


if __name__ == "__main__":
    main(int(sys.argv[1]))
