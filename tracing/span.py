"""One span as we measure it, and which traces are written (pure)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

Value = str | int | float | bool


class Kind(StrEnum):
    """Which side of which call, in OpenTelemetry's words."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class Span(msgspec.Struct, kw_only=True):
    """A finished piece of work. Ids are lower-case hexadecimal as in traceparent; times are nanoseconds since 1970.

    `error` makes it a failed one; only server spans whose fault it is have one (semantic conventions for HTTP).
    """

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str = ""
    start: int
    end: int
    attributes: dict[str, Value]
    error: str = ""


def filled(attributes: dict[str, Value]) -> dict[str, Value]:
    """Without what is empty: an attribute that is there says something."""
    return {name: value for name, value in attributes.items() if value not in ("", 0)}


class Sampler:
    """Decides by a trace's id alone, so that every program with the same ratio decides alike (TraceIdRatioBased)."""

    def __init__(self, ratio: float) -> None:
        self._below = round(ratio * (1 << 64))

    def takes(self, trace_id: str) -> bool:
        """Whether a trace that begins with us is written."""
        return int(trace_id[16:], 16) < self._below


def route_of(path: str, route: str) -> str:
    """The path with names left out, as `http.route` wants it; "" where there is no such thing."""
    match route:
        case "predict":
            return "/v1/predict"
        case "infer":
            return "/v2/models/{model}/infer"
        case "tfs":
            return f"/v1/models/{{model}}:{path.rpartition(':')[2]}"
        case _:
            return ""
