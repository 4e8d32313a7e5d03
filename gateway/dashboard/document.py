"""The document that page, command line and scripts read: its shape, version 1. Described in docs/operations.md.

Ages are seconds, other durations milliseconds unless the name says otherwise, times wall clock seconds. Fields may be
added within a version; none changes its meaning.
"""

from __future__ import annotations

import msgspec

from gateway.windows import Window

VERSION = 1
# States in which a node is given nothing though nobody asked it to leave, unless too few others are left.
BROKEN = frozenset({"ejected", "critical"})


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """The last attempt that a node lost; `detail` and `request_id` are empty when another node saved the request."""

    at: float
    code: str
    detail: str
    request_id: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node as the gateway sees it now."""

    id: str
    address: str
    pool: str
    state: str  # healthy, unlisted, degraded, ejected, critical, draining
    usable: bool  # whether new requests may go there now
    for_seconds: float  # since when it is in this state
    why: str
    registry: str  # the registry's word, "absent" when it no longer lists the node
    probe: str  # passed, failed, unknown
    models: tuple[str, ...]  # name@version
    slots: int
    in_flight: int
    sent_ahead: int  # of these, at the node before a slot is free
    others: int  # requests of other gateways, by the node's own word
    gateways: int  # that it serves, this one included; 0 when it does not say
    work_ms: float  # predicted, ours, not yet finished
    free_ms: float  # until a slot is predicted free
    speed: float  # learned; 1 is the artefact's prior
    weight: float  # an operator's factor on it
    service_ms: float | None  # by its own word, recent
    requests: int  # answered during the last minute
    share: float  # of all requests of the last minute, 0..1
    error_share: float  # of recent attempts, 0..1
    attempts: int  # requests sent to it since it joined
    errors: int  # of these, lost by its fault
    ejections: int
    max_pixels: int
    device: str
    last_error: LastError | None


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """One pool: its nodes together, and what waits for it."""

    name: str
    nodes: int
    usable: int
    capacity: int  # slots of usable nodes
    in_flight: int
    busy: int  # slots
    work_seconds: float  # predicted work on its usable nodes, per slot
    queued: int
    queued_seconds: float  # predicted work in the queue
    oldest_wait_seconds: float
    states: dict[str, int]
    spill: str  # where its work goes when it is full or down, in words


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """Where the list of nodes comes from and how old it is."""

    url: str
    answered: bool
    stale: str
    for_seconds: float  # good or stale since
    updates: int
    failures: int


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The routing options that can be changed at run time."""

    policy: str
    policies: list[str]
    oversize_pixels: int
    oversize_ms: float
    adaptive: bool  # the threshold follows the load, whatever the two above say


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Can we serve? In one sentence, and the parts of it."""

    level: str  # ok, degraded, down
    text: str
    notes: list[str]


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """This process."""

    name: str
    version: str
    up_seconds: float
    in_flight: int
    draining: bool
    actions: bool  # whether an operator token is set


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process of this gateway."""

    number: int
    pid: int
    state: str  # serving, starting, leaving, silent
    for_seconds: float  # since it was started
    in_flight: int
    per_second: float  # requests, over the last 10 s


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    version: int = VERSION
    at: float
    gateway: Gateway
    verdict: Verdict
    last_10s: Window
    last_60s: Window
    registry: Registry
    rules: Rules
    pools: list[Pool]
    nodes: list[Node]
    workers: list[Worker] = []  # none: the gateway is a single process
