"""Every option of the gateway: one frozen tree, each default with its reason."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from discovery.config import RegistryConfig
from tls.config import ClientTls, ServerTls
from tracing.config import Tracing

MIB = 1 << 20


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public endpoint."""

    host: Annotated[str, Meta(description="loopback until an operator opens it")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="the usual port for HTTP behind no one; 0 picks one")] = 8080
    backlog: Annotated[int, Meta(ge=1, description="absorbs a burst of connects while the loop is busy")] = 1024
    pseudonym: Annotated[
        str, Meta(pattern="^[A-Za-z0-9._-]{1,64}$", description="our name in Via; no host name (RFC 9110 7.6.3)")
    ] = "fleetgate"


class Operator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The operators' listener: page, JSON, metrics."""

    host: Annotated[str, Meta(description="operators only: never public unless told")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="beside the public port")] = 8081
    token: Annotated[str, Meta(description="needed for every change; empty turns changes off")] = ""
    node_names: Annotated[bool, Meta(description="name nodes in public answers; turn off for strangers")] = True


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client may ask of us; every default is safe on the open internet."""

    request_line_bytes: Annotated[int, Meta(ge=512, description="8 KiB, as nginx")] = 8192
    header_bytes: Annotated[int, Meta(ge=512, description="one field; 8 KiB, as nginx")] = 8192
    headers_bytes: Annotated[int, Meta(ge=1024, description="all fields together")] = 32768
    header_count: Annotated[int, Meta(ge=8, description="HAProxy allows 101")] = 100
    header_seconds: Annotated[float, Meta(gt=0, description="slowloris ends here")] = 10.0
    body_bytes: Annotated[int, Meta(ge=1024, description="a 100 MP photo is 14 MB; room above it")] = 64 * MIB
    body_idle_seconds: Annotated[float, Meta(gt=0, description="no byte for this long is a stalled upload")] = 10.0
    body_seconds: Annotated[float, Meta(gt=0, description="the longest upload")] = 120.0
    body_rate: Annotated[int, Meta(ge=0, description="bytes/s an upload must average after its first 10 s")] = 4096
    write_seconds: Annotated[
        float, Meta(gt=0, description="an answer of which nothing is read for this long is cut")
    ] = 30.0
    linger_seconds: Annotated[
        float, Meta(ge=0, description="a refused upload is read away this long, so that the refusal is seen")
    ] = 2.0
    keepalive_seconds: Annotated[float, Meta(gt=0, description="nginx keeps 75 s; below most load balancers")] = 60.0
    keepalive_requests: Annotated[int, Meta(ge=1, description="spreads old connections over new replicas")] = 10_000
    connections: Annotated[int, Meta(ge=1, description="6 KiB each when idle")] = 10_000
    connections_per_client: Annotated[int, Meta(ge=1, description="one address must not take them all")] = 256
    buffered_bytes: Annotated[int, Meta(ge=MIB, description="bodies held at once, all requests together")] = 512 * MIB
    replay_bytes: Annotated[int, Meta(ge=0, description="bodies up to this are received before a slot is taken")] = (
        16 * MIB
    )
    answer_buffer_bytes: Annotated[
        int, Meta(ge=0, description="answers up to this are whole before the client sees any")
    ] = 1 * MIB
    request_seconds: Annotated[float, Meta(gt=0, description="the deadline when the client names none")] = 30.0
    drain_seconds: Annotated[float, Meta(gt=0, description="the longest request, and a little")] = 35.0


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who gets which request, and when. Evidence: docs/decisions."""

    policy: Annotated[str, Meta(description="a name from gateway/balancing.py")] = "earliest_finish"
    oversize_pixels: Annotated[int, Meta(ge=1, description="more pixels than this is heavy")] = 8_000_000
    oversize_ms: Annotated[
        float, Meta(ge=0, description="a predicted cost above this is heavy; 0: pixels alone decide")
    ] = 0.0
    oversize_adaptive: Annotated[
        bool, Meta(description="move the threshold until each pool's share of work is its share of capacity")
    ] = False
    aging: Annotated[
        float, Meta(ge=0, description="who is next: arrival + aging x predicted seconds; 3 won the sweep")
    ] = 3.0
    aging_at_ease: Annotated[
        float, Meta(ge=0, description="the same within a class while nobody is late: by arrival; grows to aging")
    ] = 0.0
    prefetch_lead: Annotated[
        float, Meta(ge=0, description="seconds before a node frees that the next body is sent")
    ] = 0.02
    spill_light_to_heavy: Annotated[bool, Meta(description="idle heavy nodes take light work")] = True
    spill_heavy_to_light: Annotated[bool, Meta(description="light nodes that can hold it take oversized work")] = True
    spill_gate: Annotated[float, Meta(ge=0, le=1, description="share of the target the heavy pool must threaten")] = 0.5
    spill_cap: Annotated[float, Meta(ge=0, le=1, description="share of light slots oversized work may hold")] = 0.25
    slo_light_ms: Annotated[
        float, Meta(ge=0, description="target of light work: what pages and simulations judge by")
    ] = 250.0
    slo_heavy_ms: Annotated[
        float, Meta(ge=0, description="target of heavy work; 0: its deadline. The spill gate looks at it")
    ] = 2500.0
    queue_requests: Annotated[int, Meta(ge=0, description="beyond this, waiting helps nobody")] = 1000
    queue_bytes: Annotated[int, Meta(ge=0, description="bodies of waiting requests")] = 256 * MIB


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a node is trusted."""

    probe_interval: Annotated[
        float, Meta(gt=0, description="what hangs is noticed within this and the timeout: 2 s")
    ] = 0.75
    probe_timeout: Annotated[float, Meta(gt=0, description="two probes unanswered for so long: the loop is stuck")] = (
        1.0
    )
    probe_failures: Annotated[int, Meta(ge=1, description="one lost probe is chance, two are a pattern")] = 2
    eject_failures: Annotated[
        int, Meta(ge=1, description="consecutive failures; 5 as Envoy, less for few big requests")
    ] = 3
    eject_seconds: Annotated[float, Meta(gt=0, description="times the count of ejections")] = 5.0
    eject_max_seconds: Annotated[float, Meta(gt=0, description="even a bad node gets another chance")] = 60.0
    eject_max_share: Annotated[
        float, Meta(ge=0, le=1, description="at least one node; Envoy's 10 % ejects nobody in small fleets")
    ] = 0.34
    panic_share: Annotated[
        float, Meta(ge=0, le=1, description="below this share available, ejections are ignored (Envoy)")
    ] = 0.5
    slow_start_seconds: Annotated[float, Meta(ge=0, description="no prefetch to a node that just came")] = 10.0


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often another node is tried."""

    attempts: Annotated[int, Meta(ge=1, description="in all; never the same node twice")] = 3
    budget: Annotated[
        float, Meta(ge=0, le=1, description="retries per request, fleet-wide; stops storms (Finagle, Envoy)")
    ] = 0.2
    budget_min: Annotated[float, Meta(ge=0, description="retries a second that are always allowed")] = 3.0
    connect_seconds: Annotated[float, Meta(gt=0, description="a node in the same network answers far sooner")] = 1.0


class Security(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom we believe. Addresses from a registry are input."""

    node_networks: Annotated[
        tuple[str, ...], Meta(description="where nodes may live; link-local and metadata addresses never")
    ] = (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
    trusted_proxies: Annotated[tuple[str, ...], Meta(description="whose X-Forwarded-For is believed")] = ()


class Workers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several processes behind one port, and their parent."""

    count: Annotated[int, Meta(ge=1, le=64, description="processes that serve; one uses one core")] = 1
    parent: Annotated[
        Literal["auto", "always"],
        Meta(description="always: a single worker has a parent too, for reload and upgrade without losing a request"),
    ] = "auto"
    start_seconds: Annotated[float, Meta(gt=0, description="a new worker not ready by then is given up")] = 30.0
    handover_seconds: Annotated[
        float, Meta(ge=0, description="on a reload: how long idle clients of an old worker may come once more")
    ] = 10.0
    hang_seconds: Annotated[float, Meta(gt=1, description="a worker silent for this long is killed and replaced")] = (
        20.0
    )


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written down."""

    level: Annotated[str, Meta(description="debug, info, warning or error")] = "info"
    format: Annotated[str, Meta(description="json, text, or auto: text on a terminal")] = "auto"
    access_sample: Annotated[
        float, Meta(ge=0, le=1, description="share of successful requests logged; errors always")
    ] = 1.0
    access_rate: Annotated[
        float, Meta(ge=0, description="successful requests logged a second at most: a line costs half a request")
    ] = 100.0
    trace: Annotated[
        str, Meta(description="a file for `fleetgate simulate`: one line per routed request; empty writes none")
    ] = ""
    trace_bytes: Annotated[int, Meta(ge=MIB, description="a file this long is set aside: 300,000 requests")] = 64 * MIB
    trace_files: Annotated[int, Meta(ge=1, description="this many are kept, the one being written among them")] = 4


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    listen: Listen = Listen()
    operator: Operator = Operator()
    tls: ServerTls = ServerTls()
    node_tls: ClientTls = ClientTls()
    registry: RegistryConfig = RegistryConfig()
    limits: Limits = Limits()
    workers: Workers = Workers()
    routing: Routing = Routing()
    health: Health = Health()
    retry: Retry = Retry()
    security: Security = Security()
    log: Log = Log()
    tracing: Tracing = Tracing()
