"""Light or heavy, and what it will cost: decided from the first bytes of a request."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from gateway.config import Routing
from gateway.costs import Costs
from gateway.threshold import Threshold

if TYPE_CHECKING:
    from gateway.fleet import Fleet
    from gateway.ticket import Ticket

PERIOD = 64  # requests between two moves of an adaptive threshold


class Classifier:
    """Fills in a ticket's predicted cost and its size class, and why."""

    def __init__(self, fleet: Fleet, costs: Costs, routing: Routing) -> None:
        self.fleet = fleet
        self.costs = costs
        self.routing = routing
        self._threshold = Threshold()
        self._cut_ms = inf
        self._seen = 0

    def classify(self, ticket: Ticket) -> None:
        """By pixels, or by cost if an operator asked for that; without a readable header by bytes."""
        model = ticket.model or self.fleet.default_model
        cost = self.costs.predict(model, ticket.image_format, ticket.pixels, ticket.body_bytes)
        ticket.cost_ms = cost
        routing = self.routing
        if routing.oversize_adaptive:
            ticket.heavy, ticket.why = cost > self._adapted(cost), "cost" if ticket.pixels else "bytes"
        elif routing.oversize_ms and cost > routing.oversize_ms:
            ticket.heavy, ticket.why = True, "cost" if ticket.pixels else "bytes"
        elif ticket.pixels:
            ticket.heavy, ticket.why = ticket.pixels > routing.oversize_pixels, "pixels"
        else:
            # Nobody knows its pixels: it is heavy when it costs as much as the smallest heavy image.
            limit = routing.oversize_ms or self.costs.predict(model, "jpeg", routing.oversize_pixels, 0)
            ticket.heavy, ticket.why = cost > limit, "bytes" if ticket.body_bytes else "default"

    @property
    def cut_ms(self) -> float:
        """The adaptive threshold now; infinity before the first request, or when it is not used."""
        return self._cut_ms

    def _adapted(self, cost_ms: float) -> float:
        self._threshold.add(cost_ms)
        self._seen += 1
        if self._seen % PERIOD == 1:
            light, heavy = self.fleet.power()
            self._cut_ms = self._threshold.cut(light / (light + heavy)) if light + heavy > 0.0 else inf
        return self._cut_ms
