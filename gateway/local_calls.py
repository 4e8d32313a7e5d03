"""Calls the gateway answers by itself: whether it lives, whether it can serve, what it is (pure)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from wire.errors import Draining, NoNode, NotFound
from wire.paths import Call, Kind

LOCAL = frozenset(
    {
        Kind.OIP_METADATA,
        Kind.LIVE,
        Kind.READY,
        Kind.PING,
        Kind.HEALTHZ,
        Kind.READYZ,
        Kind.METRICS,
        Kind.INDEX,
    }
)
_JSON = "application/json"
_EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration"]
_CALLS = [
    "POST /v1/predict[/{model}[/{version}]]",
    "POST /v2/models/{model}[/versions/{version}]/infer",
    "POST /v1/models/{model}[/versions/{version}]:predict",
    "GET /v2/health/ready",
]


class LocalCalls:
    """Answers them from the state of the fleet and of this gateway."""

    def __init__(self, version: str, can_serve: Callable[[], bool], draining: Callable[[], bool]) -> None:
        self._version = version
        self._can_serve = can_serve
        self._draining = draining

    def answer(self, call: Call) -> tuple[int, str, bytes]:
        """Status, content type and body. Raises Draining or NoNode (503), NotFound."""
        match call.kind:
            case Kind.LIVE:
                return 200, _JSON, b'{"live":true}'
            case Kind.READY | Kind.PING | Kind.HEALTHZ | Kind.READYZ:
                self.check_ready()
                return 200, _JSON, b'{"ready":true}'
            case Kind.OIP_METADATA:
                document = {"name": "fleetgate", "version": self._version, "extensions": _EXTENSIONS}
                return 200, _JSON, msgspec.json.encode(document)
            case Kind.INDEX:
                document = {"name": "fleetgate", "version": self._version, "calls": _CALLS}
                return 200, _JSON, msgspec.json.encode(document)
            case _:
                raise NotFound("metrics are served to operators, on their own address")

    def check_ready(self) -> None:
        """Raises the reason why no request can be served now."""
        if self._draining():
            raise Draining("this gateway is shutting down", headers={"Retry-After": "1"})
        if not self._can_serve():
            raise NoNode("no node can serve now", headers={"Retry-After": "1"})
