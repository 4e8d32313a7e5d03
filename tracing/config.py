"""When traces are written and where to: shared by gateway and node."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Tracing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry traces. They need the extra `otel`."""

    endpoint: Annotated[
        str,
        Meta(
            pattern="^$|^https?://[^/]",
            description="a collector's OTLP over HTTP, http://host:4318; empty: no traces, at no cost",
        ),
    ] = ""
    sample_ratio: Annotated[
        float,
        Meta(ge=0, le=1, description="of the requests whose caller began no trace; the others follow their caller"),
    ] = 0.01
