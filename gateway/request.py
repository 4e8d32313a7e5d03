"""A client's request on its way through the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.body import Body
    from gateway.ticket import Ticket


@dataclass(slots=True, eq=False)
class Request:
    """What a node will be sent: rebuilt from parsed parts, never copied raw.

    `target` is path and query as bytes-safe ASCII text; `headers` are clean (no hop-by-hop, no internal ones, no
    Host, no length): the node client adds Host and the body's framing.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: Body
    ticket: Ticket
