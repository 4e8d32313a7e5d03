"""A request as the scheduler sees it: what it will cost, since when it waits, until when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """One request in the queue or on a node. Times are seconds on the caller's monotonic clock."""

    request_id: str
    arrival: float
    deadline: float
    cost_ms: float  # predicted service time on a node of speed 1
    pixels: int = 0  # 0 when the header could not be read
    image_format: str = ""
    body_bytes: int = 0
    model: str = ""  # "" is the fleet's default model
    version: str = ""  # "" is any
    heavy: bool = False  # its size class: which pool it prefers
    why: str = ""  # why that class: "pixels", "cost", "bytes", "default"
    explain: bool = False
    attempts: int = 0
    tried: set[str] = field(default_factory=set)  # ids of the backends tried before
