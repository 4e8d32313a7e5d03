"""Counts that the configuration leaves to the machine or the pool, filled in once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from node.config import NodeConfig

_LIGHT_PIXELS, _HEAVY_PIXELS = 50_000_000, 200_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """See NodeConfig for each."""

    threads: int
    runners: int
    processes: int  # that runners have for themselves; 0: they are threads of the node's
    decoders: int
    slots: int
    max_pixels: int


def sizes(config: NodeConfig) -> Sizes:
    """The configuration's zeros filled in."""
    threads = config.session.threads or usable_cores()
    # On a GPU one batch runs while the next is put together; more would only queue inside it.
    runners = config.session.runners or (2 if config.session.device == "gpu" else threads)
    pixels = _HEAVY_PIXELS if config.pool == "heavy" else _LIGHT_PIXELS
    in_processes = config.session.workers == "processes" or (config.session.workers == "auto" and not _on_gpu(config))
    return Sizes(
        threads=threads,
        runners=runners,
        processes=runners if in_processes else 0,
        decoders=config.images.decoders or max(2, threads),
        slots=config.limits.slots or 2 * runners,
        max_pixels=config.limits.max_pixels or pixels,
    )


def _on_gpu(config: NodeConfig) -> bool:
    """A GPU's memory would hold the model once for each process. Its driver is asked without TensorFlow."""
    return config.session.device == "gpu" or (
        config.session.device == "auto"
        and any(path.exists() for path in (*Path("/dev").glob("nvidia[0-9]*"), Path("/dev/dxg"), Path("/dev/kfd")))
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
