"""A client's request on its way through the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.body import Body
    from gateway.ticket import Ticket


class Request:
    """What a node will be sent: rebuilt from parsed parts, never copied raw.

    `start` and `lines` were made by gateway/node_head.py: the request line, and clean fields (no hop-by-hop, no
    internal ones, no Host, no length). The node client adds Host and the body's framing.
    """

    __slots__ = ("body", "lines", "method", "start", "ticket")

    def __init__(self, method: str, start: str, lines: str, body: Body, ticket: Ticket) -> None:
        self.method = method
        self.start = start
        self.lines = lines
        self.body = body
        self.ticket = ticket
