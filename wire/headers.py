"""Header names, in the case we send them, and which of them may pass.

Hop-by-hop rules: RFC 9110 section 7.6.1.
"""

from __future__ import annotations

REQUEST_ID = "X-Request-Id"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
TIMEOUT_MS = "X-Request-Timeout-Ms"
# What is left of the budget, in milliseconds, from gateway to node: Envoy's own name for it.
BUDGET_MS = "x-envoy-expected-rq-timeout-ms"
SERVER_TIMING = "Server-Timing"
LOAD_REPORT = "endpoint-load-metrics"
LOAD_REPORT_BIN = "endpoint-load-metrics-bin"
RETRY_AFTER = "Retry-After"
REFUSED = "X-Fleetgate-Refused"
NODE = "X-Fleetgate-Node"
POOL = "X-Fleetgate-Pool"
ATTEMPTS = "X-Fleetgate-Attempts"
EXPLAIN = "X-Fleetgate-Explain"
INFERENCE_HEADER_LENGTH = "Inference-Header-Content-Length"
# Which model answered, `name@version`: set by the node.
MODEL = "X-Fleetgate-Model"

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What a client must not be able to say: pool, node, cost, load, identity.
INTERNAL_PREFIX = "x-fleetgate-"
INTERNAL = frozenset({LOAD_REPORT, LOAD_REPORT_BIN, BUDGET_MS})
