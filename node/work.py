"""What the node works on: a job is one request, its rows are scheduled one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wire.image_header import ImageHeader

if TYPE_CHECKING:
    from node.engine import Engine

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]
# Rows with equal shapes of one model can share a batch.
Bucket = tuple["Engine", tuple[tuple[int, ...], ...]]


class Stage(Enum):
    """Where a row is. It only ever moves down this list."""

    WAITING = auto()  # for a decoder
    DECODING = auto()
    READY = auto()  # for a runner; a small image may be decoded there
    RUNNING = auto()
    DONE = auto()  # or dropped


@dataclass(slots=True, eq=False)
class Row:
    """One image, or one row of numeric tensors. Times are milliseconds."""

    bucket: Bucket  # with whom it may be batched
    image: bytes | None = None
    header: ImageHeader | None = None
    inputs: Arrays | None = None  # None until decoded
    others: Arrays = field(default_factory=dict)  # inputs that came beside the image
    decoded_bytes: int = 0  # at most, while it is decoded
    decode_ms: float = 0.0  # predicted
    run_ms: float = 0.0  # predicted, alone
    key: float = 0.0  # its place in the heap
    held: int = 0  # bytes of the room it holds
    digest: bytes = b""  # of what goes in, when answers are kept
    alone: bool = False  # shares no batch: an earlier one that held it failed
    stage: Stage = Stage.WAITING
    outputs: Arrays | None = None
    job: Job = field(init=False)

    @property
    def predicted_ms(self) -> float:
        """Decoding and running, one after the other."""
        return self.decode_ms + self.run_ms

    @property
    def left_ms(self) -> float:
        """What of that is still to do."""
        return self.run_ms if self.inputs is not None else self.predicted_ms


@dataclass(slots=True, eq=False)
class Job:
    """One request. `deadline` is on the clock of the event loop, in seconds; durations are milliseconds."""

    engine: Engine
    rows: Sequence[Row]
    arrival: float
    deadline: float
    left: int = 0  # rows not yet done
    cached: int = 0  # rows whose outputs came from an equal row, an earlier one or one in progress
    decode_ms: float = 0.0  # spent
    infer_ms: float = 0.0  # spent in batches that held its rows
    decoded_at: float = 0.0  # monotonic, when its latest row was; 0: none yet
    inferred_at: float = 0.0
    started: bool = False  # work was put into it
    over: bool = False

    def __post_init__(self) -> None:
        self.left = sum(row.outputs is None for row in self.rows)
        self.cached = len(self.rows) - self.left
        for row in self.rows:
            row.job = self

    @property
    def predicted_ms(self) -> float:
        """All of its rows, one after the other."""
        return sum(row.predicted_ms for row in self.rows)
