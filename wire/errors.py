"""The one table of errors: every way a request can end badly, for client, gateway and node alike.

A row is a class: its `code` names it on the wire, its `status` is what HTTP clients see, and
`retry_elsewhere` says whether another node may be tried: nothing can have been lost.
The body is RFC 9457 problem details plus a top-level `error` string, which clients of the Open Inference
Protocol and TensorFlow Serving read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:fleetgate:error:"


class WireError(Exception):
    """A request that ends with an error; subclasses are the rows of the table.

    `detail` is a sentence for the client and must hold no secret; `extra` becomes members of the body
    (lower case, RFC 9457 section 3.2), `headers` become response headers.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retry_elsewhere: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **extra: str | int | float | list[str],
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        self.extra = extra

    def body(self, request_id: str) -> bytes:
        """The problem document as JSON bytes."""
        document: dict[str, object] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "error": self.detail,
            "request_id": request_id,
            **self.extra,
        }
        return msgspec.json.encode(document)


class BadRequest(WireError):
    """Malformed request, JSON or tensor."""

    code, status, title = "bad-request", 400, "Malformed request"


class Unauthorized(WireError):
    """No key, or an unknown one."""

    code, status, title = "unauthorized", 401, "A valid key is needed"


class Forbidden(WireError):
    """The key may not use this model."""

    code, status, title = "forbidden", 403, "This key may not do that"


class NotFound(WireError):
    """Unknown path, model or version."""

    code, status, title = "not-found", 404, "Unknown path, model or version"


class MethodNotAllowed(WireError):
    """The path exists, the method does not; `Allow` names those that do."""

    code, status, title = "method-not-allowed", 405, "Method not allowed"


class UploadStalled(WireError):
    """The client stalls while uploading."""

    code, status, title = "upload-stalled", 408, "The upload stalled"


class LengthRequired(WireError):
    """A length is needed and missing."""

    code, status, title = "length-required", 411, "A length is needed"


class TooLarge(WireError):
    """Body or pixels beyond what any pool takes; never temporary."""

    code, status, title = "too-large", 413, "Too large for any node"


class UriTooLong(WireError):
    """The request line is too long."""

    code, status, title = "uri-too-long", 414, "Request line too long"


class UnsupportedMedia(WireError):
    """Not an image we read, or an unsupported coding."""

    code, status, title = "unsupported-media", 415, "Not an image we read"


class ExpectationFailed(WireError):
    """An `Expect` other than 100-continue."""

    code, status, title = "expectation-failed", 417, "Unknown expectation"


class Undecodable(WireError):
    """An image by its header that cannot be decoded: truncated, corrupt, bomb, zero size."""

    code, status, title = "undecodable", 422, "The image cannot be decoded"


class QuotaExceeded(WireError):
    """This client is over its quota; comes with Retry-After."""

    code, status, title = "quota-exceeded", 429, "Over your quota"


class HeadersTooLarge(WireError):
    """Too long or too many headers."""

    code, status, title = "headers-too-large", 431, "Headers too large"


class ClientGone(WireError):
    """The client hung up: seen in logs and metrics only."""

    code, status, title = "client-gone", 499, "The client went away"


class ModelFailed(WireError):
    """The model itself failed on this input; another node would fail alike."""

    code, status, title = "model-failed", 500, "The model failed on this input"


class NodeUnreachable(WireError):
    """A connection to the node could not be made, or ended before any answer."""

    code, status, title = "node-unreachable", 502, "No node could be reached"
    retry_elsewhere = True


class NodeGarbage(WireError):
    """A node answered something that is no answer."""

    code, status, title = "node-garbage", 502, "A node answered garbage"
    retry_elsewhere = True


class NodeBusy(WireError):
    """A node refused before reading the body; nobody is to blame."""

    code, status, title = "node-busy", 503, "The node is busy"
    retry_elsewhere = True


class NoNode(WireError):
    """No healthy node can serve this now; comes with Retry-After."""

    code, status, title = "no-node", 503, "No healthy node"


class QueueFull(WireError):
    """The queue is full; comes with Retry-After."""

    code, status, title = "queue-full", 503, "The queue is full"


class Hopeless(WireError):
    """The wait would exceed the deadline; comes with Retry-After."""

    code, status, title = "hopeless", 503, "Cannot be served in time"


class Draining(WireError):
    """This gateway or node is leaving and takes nothing new."""

    code, status, title = "draining", 503, "Shutting down"
    retry_elsewhere = True


class VersionNotSupported(WireError):
    """A version of HTTP other than 1.0 and 1.1."""

    code, status, title = "version-not-supported", 505, "HTTP version not supported"


class DeadlineMissed(WireError):
    """A node took the request and missed the deadline."""

    code, status, title = "deadline-missed", 504, "The deadline was missed"


def _rows(root: type[WireError]) -> list[type[WireError]]:
    return [root, *(row for child in root.__subclasses__() for row in _rows(child))]


TABLE: dict[str, type[WireError]] = {row.code: row for row in _rows(WireError)}
