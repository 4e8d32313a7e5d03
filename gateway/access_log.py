"""One line per request, within reason: every error up to a rate, successes sampled up to a rate of their own."""

from __future__ import annotations

import logging
from random import Random

from gateway.config import Log
from gateway.outcome import Outcome
from gateway.rate import Rate

_log = logging.getLogger("gateway.access")
# A storm of errors must not fill the disk either.
_ERRORS_PER_SECOND = 1000.0


class AccessLog:
    """An observer of outcomes. Records hold no header and no body: neither keys nor images are written down."""

    def __init__(self, options: Log, rng: Random) -> None:
        self._sample = options.access_sample
        self._rng = rng
        self._successes = Rate(options.access_rate)
        self._errors = Rate(_ERRORS_PER_SECOND)

    def finished(self, outcome: Outcome) -> None:
        """Write the line, or not."""
        if outcome.status >= 400:
            if self._errors.allows(outcome.at):
                _log.warning("request", extra={"fields": _fields(outcome)})
        elif self._successes.allows(outcome.at) and (self._sample >= 1.0 or self._rng.random() < self._sample):
            _log.info("request", extra={"fields": _fields(outcome)})


def _fields(outcome: Outcome) -> dict[str, object]:
    """What stands in the line; what is empty is left out."""
    fields = {
        "request_id": outcome.request_id,
        "trace_id": outcome.trace_id,
        "client": outcome.client,
        "method": outcome.method,
        "path": outcome.path[:256],
        "status": outcome.status,
        "error": outcome.error,
        "detail": outcome.detail,
        "model": outcome.model,
        "pool": outcome.pool,
        "node": outcome.node,
        "attempts": outcome.attempts,
        "retries": ",".join(outcome.retries),
        "pixels": outcome.pixels,
        "format": outcome.image_format,
        "bytes": outcome.body_bytes,
        "answer_bytes": outcome.answer_bytes,
        "recv_ms": round(outcome.recv_ms, 3),
        "queue_ms": round(outcome.queue_ms, 3),
        "service_ms": round(outcome.service_ms, 3),
        "dur_ms": round(outcome.total_ms, 3),
    }
    return {name: value for name, value in fields.items() if value not in ("", 0)}
