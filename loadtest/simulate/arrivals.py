"""What arrives: one request of a load, made up or recorded."""

from __future__ import annotations

import msgspec


class Arrival(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One request. Times are seconds from the start of the trace, costs milliseconds at speed 1.

    `cost_ms` is what the gateway predicts (0: let it) and `actual_ms` what the work really is. `heavy` is the class by
    whose target it is judged, and the one it is routed by unless the gateway is to predict.
    """

    at: float
    actual_ms: float
    cost_ms: float = 0.0
    heavy: bool | None = None  # None lets the gateway decide
    pixels: int = 0
    image_format: str = "jpeg"
    body_bytes: int = 0
    model: str = ""


class Load(msgspec.Struct, kw_only=True):
    """A sequence of arrivals in order of time, and where it came from."""

    name: str
    arrivals: list[Arrival]

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        return self.arrivals[-1].at - self.arrivals[0].at if self.arrivals else 0.0

    def utilisation(self, power: float) -> float:
        """Work arriving over work a fleet can do; `power` is the sum of its speeds times slots."""
        if self.seconds <= 0.0 or power <= 0.0:
            return 0.0
        return sum(each.actual_ms for each in self.arrivals) * 1e-3 / self.seconds / power
