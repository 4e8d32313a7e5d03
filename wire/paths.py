"""Which call a method and a path are: the plain endpoint, Open Inference Protocol, TensorFlow Serving, health.

Surfaces: WIRE in docs/; OIP `inference_rest.md`; the regular expressions of TensorFlow Serving's HTTP server.
"""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import unquote_to_bytes

import msgspec

from wire.errors import BadRequest, MethodNotAllowed, NotFound


class Kind(StrEnum):
    """Every call there is."""

    PREDICT = "predict"
    OIP_INFER = "oip_infer"
    OIP_METADATA = "oip_metadata"
    OIP_MODEL = "oip_model"
    OIP_MODEL_READY = "oip_model_ready"
    OIP_CONFIG = "oip_config"
    LIVE = "live"
    READY = "ready"
    TFS_PREDICT = "tfs_predict"
    TFS_CLASSIFY = "tfs_classify"
    TFS_STATUS = "tfs_status"
    TFS_METADATA = "tfs_metadata"
    PING = "ping"
    HEALTHZ = "healthz"
    READYZ = "readyz"
    METRICS = "metrics"
    INDEX = "index"


_ROUTES = {
    Kind.PREDICT: "predict",
    Kind.OIP_INFER: "infer",
    Kind.TFS_PREDICT: "tfs",
    Kind.TFS_CLASSIFY: "tfs",
    Kind.OIP_METADATA: "metadata",
    Kind.OIP_MODEL: "metadata",
    Kind.OIP_CONFIG: "metadata",
    Kind.TFS_STATUS: "metadata",
    Kind.TFS_METADATA: "metadata",
    Kind.OIP_MODEL_READY: "health",
    Kind.LIVE: "health",
    Kind.READY: "health",
    Kind.PING: "health",
    Kind.HEALTHZ: "health",
    Kind.READYZ: "health",
    Kind.METRICS: "other",
    Kind.INDEX: "other",
}
_INFERENCE = frozenset({Kind.PREDICT, Kind.OIP_INFER, Kind.TFS_PREDICT, Kind.TFS_CLASSIFY})


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call and what it names; "" is the default model, any version, no label."""

    kind: Kind
    model: str = ""
    version: str = ""
    label: str = ""

    @property
    def inference(self) -> bool:
        """Whether a node must compute for it."""
        return self.kind in _INFERENCE

    @property
    def route(self) -> str:
        """A bounded name for metrics: predict, infer, tfs, metadata, health, other."""
        return _ROUTES[self.kind]


_GET = ("GET", "HEAD")
_POST = ("POST",)
_POST_OR_PUT = ("POST", "PUT")

_EXACT: dict[str, tuple[tuple[str, ...], Call]] = {
    "/v1/predict": (_POST_OR_PUT, Call(Kind.PREDICT)),
    "/invocations": (_POST_OR_PUT, Call(Kind.PREDICT)),
    "/v2": (_GET, Call(Kind.OIP_METADATA)),
    "/v2/health/live": (_GET, Call(Kind.LIVE)),
    "/v2/health/ready": (_GET, Call(Kind.READY)),
    "/ping": (_GET, Call(Kind.PING)),
    "/healthz": (_GET, Call(Kind.HEALTHZ)),
    "/readyz": (_GET, Call(Kind.READYZ)),
    "/metrics": (_GET, Call(Kind.METRICS)),
    "/monitoring/prometheus/metrics": (_GET, Call(Kind.METRICS)),
    "/": (_GET, Call(Kind.INDEX)),
}
_OIP_ACTIONS: dict[str, tuple[tuple[str, ...], Kind]] = {
    "": (_GET, Kind.OIP_MODEL),
    "/ready": (_GET, Kind.OIP_MODEL_READY),
    "/config": (_GET, Kind.OIP_CONFIG),
    "/infer": (_POST, Kind.OIP_INFER),
}
_PREDICT = re.compile(r"/v1/predict/([^/]+)(?:/([^/]+))?")
_OIP = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/config|/infer)?")
_TFS = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]{1,19})|/labels/([^/:]+))?(?::(classify|regress|predict)|(/metadata))?",
    re.IGNORECASE | re.ASCII,
)
_LONGEST_NAME = 256


def parse(method: str, path: str) -> Call:
    """The call that `path` (as sent: percent-encoded; a query is ignored) names.

    Raises NotFound, MethodNotAllowed with `Allow`, or BadRequest for escapes that are none.
    """
    if "?" in path:
        path = path.partition("?")[0]
    methods, call = _EXACT.get(path) or _with_names(path)
    if method not in methods:
        raise MethodNotAllowed(f"this path takes {' or '.join(methods)}", headers={"Allow": ", ".join(methods)})
    return call


def _with_names(path: str) -> tuple[tuple[str, ...], Call]:
    if match := _PREDICT.fullmatch(path):
        model, version = match.groups("")
        return _POST_OR_PUT, Call(Kind.PREDICT, _name(model), _name(version))
    if match := _OIP.fullmatch(path):
        model, version, action = match.groups("")
        methods, kind = _OIP_ACTIONS[action]
        return methods, Call(kind, _name(model), _name(version))
    if match := _TFS.fullmatch(path):
        return _tensorflow_serving(*match.groups(""))
    raise NotFound("there is nothing at this path")


def _tensorflow_serving(model: str, version: str, label: str, verb: str, metadata: str) -> tuple[tuple[str, ...], Call]:
    verb = verb.lower()
    if verb == "regress":
        raise NotFound("no model here does regression; use :predict")
    names = (_name(model), version, _name(label))
    if verb:
        return _POST, Call(Kind.TFS_PREDICT if verb == "predict" else Kind.TFS_CLASSIFY, *names)
    return _GET, Call(Kind.TFS_METADATA if metadata else Kind.TFS_STATUS, *names)


def _name(raw: str) -> str:
    """One path segment as a name: decoded, printable, no slash, no dots that climb."""
    if raw.isascii() and raw.isalnum() and len(raw) <= _LONGEST_NAME:
        return raw
    name = _decoded(raw) if "%" in raw else raw
    if name in (".", "..") or "/" in name:
        raise NotFound("a name cannot hold '/', nor be '.' or '..'")
    if not name.isprintable():
        raise BadRequest("a name cannot hold control characters")
    if len(name) > _LONGEST_NAME:
        raise NotFound(f"no name is longer than {_LONGEST_NAME} characters")
    return name


def _decoded(raw: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", raw):
        raise BadRequest("the path holds a broken percent escape")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None
