"""A request as the scheduler sees it: what it will cost, since when it waits, until when it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gateway.queue import Lane


class Ticket(msgspec.Struct, eq=False, kw_only=True):
    """One request in the queue or on a node. Times are seconds on the caller's monotonic clock."""

    request_id: str
    arrival: float
    deadline: float
    cost_ms: float = 0.0  # predicted service time on a node of speed 1; filled by Scheduler.classify
    pixels: int = 0  # 0 when the header could not be read
    image_format: str = ""
    body_bytes: int = 0
    model: str = ""  # "" is the fleet's default model
    version: str = ""  # "" is any
    heavy: bool = False  # its size class: which pool it prefers
    why: str = ""  # why that class: "pixels", "cost", "bytes", "default"
    explain: bool = False
    attempts: int = 0
    tried: set[str] = msgspec.field(default_factory=set)  # ids of the backends tried before
    asks_first: bool = False  # nothing is sent unasked to a node that several gateways use

    # Kept by the queue, nobody else's business.
    key: float = 0.0  # its place beside the other class
    order: float = 0.0  # its place in its lane
    lane: Lane | None = None  # where it waits; None when it does not
    place: int = 0  # its number there
