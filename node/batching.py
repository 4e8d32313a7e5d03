"""How many rows share a batch. Pure.

Nothing is held back to be joined: while a runner is busy rows gather by themselves, and an idle runner takes what is
there. Joining is worth it only where the graph makes it so: on one thread a batch of 8 costs what 8 runs cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def best_size(
    waiting: int, sizes: Sequence[int], run_ms: Callable[[int], float], *, gain: float, most_ms: float
) -> int:
    """The batch size to run when `waiting` rows are at hand; a batch that is not full is padded.

    `sizes` rise and are those the session is warm for. A larger one must cost at most `gain` of the smaller one's
    milliseconds per row, and no more than `most_ms` in all.
    """
    best = sizes[0]
    best_per_row = run_ms(best) / min(best, waiting)
    for size in sizes[1:]:
        if size > waiting and best >= waiting:
            break
        cost = run_ms(size)
        per_row = cost / min(size, waiting)
        if cost <= most_ms and per_row <= gain * best_per_row:
            best, best_per_row = size, per_row
    return best
