"""The best classes of one row: one rule for every protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.work import Array

DEFAULT_TOP_K = 5


def best(scores: Array, labels: Sequence[str], count: int) -> list[tuple[str, float]]:
    """The `count` best labels with their scores, best first; equal scores in the order of the labels, NaN last."""
    flat = np.asarray(scores, dtype=np.float64).ravel()
    order = np.argsort(-flat, kind="stable")[:count]
    return [(labels[place], float(flat[place])) for place in order.tolist()]
