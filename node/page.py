"""The text page at `/`: what this node is and how it is, for a person with curl."""

from __future__ import annotations

from node.batcher import Batcher
from node.load import Load
from node.models import Models

TYPE = "text/plain; charset=utf-8"
VERSION = "0.1.0"


def text(models: Models, load: Load, batcher: Batcher, leaving: bool) -> bytes:
    """The page."""
    lines = [
        "fleetgate node" + (", leaving" if leaving else ""),
        "",
        *(
            f"{engine.title:40} {engine.state}"
            + (f": {engine.why}" if engine.why else "")
            + (" (default)" if engine is models.default and len(models.engines) > 1 else "")
            + ("" if models.is_current(engine) else ", only for calls that name its version")
            for engine in models.engines
        ),
        *(f"{title:40} cannot be loaded: {why}" for title, why in sorted(models.failures.items())),
        "",
        f"slots      {min(load.admitted, load.slots)} of {load.slots} taken, {load.queued} requests wait",
        f"rows       {batcher.running} in hand, {batcher.waiting} waiting",
        f"work       {load.work_ms:.0f} ms predicted",
        f"decoding   {batcher.room.held >> 20} MiB held",
        "",
        "POST an image to /v1/predict; also /v2 (Open Inference Protocol), /v1/models/… (TensorFlow Serving), /metrics",
        "",
    ]
    return "\n".join(lines).encode()
