"""The reasons for one routing decision, in the form in which clients and operators see them."""

from __future__ import annotations

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """One node that was considered. `finish_ms` counts from the decision."""

    node: str
    pool: str
    in_flight: int
    free_ms: float
    finish_ms: float
    speed: float


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why a request went where it went. Durations are milliseconds."""

    pixels: int
    image_format: str
    body_bytes: int
    predicted_ms: float  # on a node of speed 1
    size_class: str  # light | heavy
    class_why: str  # pixels | cost | bytes | default
    policy: str
    winner: str
    pool: str  # of the winner
    note: str = ""  # why outside its own pool
    wait_ms: float = 0.0  # in the queue
    starts_ms: float = 0.0  # from the decision until the node is free for it
    finish_ms: float = 0.0  # from the decision until the predicted answer
    attempt: int = 1
    tried: list[str] = []
    candidates: list[Candidate] = []
    considered: int = 0  # how many there were; the list is cut to the best
