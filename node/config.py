"""Every option of a node: one frozen tree, each default with its reason."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from discovery.config import RegistryConfig
from tls.config import ServerTls
from tracing.config import Tracing

MIB = 1 << 20


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the node answers."""

    host: Annotated[str, Meta(description="loopback until an operator opens it")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="the port that the containers publish; 0 picks one")] = 9000
    backlog: Annotated[int, Meta(ge=1, description="absorbs a burst of connects while the loop is busy")] = 1024


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is served. The first artefact's model is the one that a call without a name means."""

    artefacts: Annotated[
        tuple[str, ...], Meta(description="directories of frozen artefacts, <root>/<model>/<version>")
    ] = ()
    root: Annotated[str, Meta(description="a model repository; looked at when no artefact is named")] = "var/models"
    names: Annotated[
        tuple[str, ...], Meta(description="models of the root, name or name@version; empty: the newest of each")
    ] = ()
    watch_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="between looks at the root: its newest whole version is loaded and switched to; 0: never",
        ),
    ] = 5.0
    keep_seconds: Annotated[
        float, Meta(ge=0, description="the version before stays warm: for those who name it, and for a way back")
    ] = 60.0
    load_seconds: Annotated[
        float, Meta(gt=0, description="a version that is not warm by then has failed; beside others it is not hurried")
    ] = 600.0


class Announce(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the registry is told; an address that gateways can reach."""

    host: Annotated[
        str, Meta(description="empty: the listening address, or this machine's own when that is a wildcard")
    ] = ""
    port: Annotated[int, Meta(ge=0, le=65535, description="0: the listening port; differs behind a port mapping")] = 0
    device: Annotated[str, Meta(description="a word for operators; empty: what the session runs on")] = ""
    speed: Annotated[
        float, Meta(gt=0, description="relative to the artefact's cost prior; gateways learn the rest")
    ] = 1.0


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the graph runs."""

    device: Annotated[
        Literal["auto", "cpu", "gpu"], Meta(description="auto: a GPU when TensorFlow sees one, else the CPU")
    ] = "auto"
    threads: Annotated[int, Meta(ge=0, description="cores for TensorFlow; 0: all that this process may use")] = 0
    runners: Annotated[
        int,
        Meta(
            ge=0, description="batches in progress at once; 0: one per thread, 1.7 x one runner's images/s on two cores"
        ),
    ] = 0
    workers: Annotated[
        Literal["auto", "processes", "threads"],
        Meta(
            description="where runners run: processes share nothing, so none waits for another and one that crashes or "
            "hangs is replaced alone, at 220 MB each; threads share one session; auto: processes on a CPU"
        ),
    ] = "auto"
    hang_seconds: Annotated[
        float, Meta(gt=0, description="a run longer than this hangs: its process is replaced, or its session rebuilt")
    ] = 60.0
    rebuild_seconds: Annotated[
        float, Meta(gt=0, description="first pause between tries to rebuild; doubles to 30 s")
    ] = 1.0


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rows are joined. Nothing waits to be joined: a free runner takes what is there."""

    max_rows: Annotated[int, Meta(ge=1, description="above this a batch gains nothing even on two threads")] = 16
    max_ms: Annotated[float, Meta(gt=0, description="predicted; a longer batch would hold up whoever comes next")] = (
        200.0
    )
    max_bytes: Annotated[int, Meta(ge=MIB, description="of its inputs together")] = 256 * MIB
    gain: Annotated[
        float,
        Meta(gt=0, le=1, description="a larger batch must cost at most this share per row, else rows run side by side"),
    ] = 0.92
    aging: Annotated[
        float, Meta(ge=0, description="heap key = arrival + aging x predicted seconds; 3 won the gateway's sweep")
    ] = 3.0


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be asked of a node, with or without a gateway before it."""

    slots: Annotated[
        int, Meta(ge=0, description="requests in progress; 0: twice the runners, so that decoding goes beside")
    ] = 0
    waiting: Annotated[
        int,
        Meta(
            ge=0,
            description="requests above the slots before a refusal; gateways bind late, so few; models split half of it",
        ),
    ] = 16
    max_pixels: Annotated[
        int, Meta(ge=0, description="of one image; 0: 50 MP in the light pool, 200 MP in the heavy")
    ] = 0
    max_decoded_bytes: Annotated[
        int,
        Meta(
            ge=16 * MIB,
            description="pixels decoded at once, whole node; a 200 MP PNG takes 0.8 GB; from 14 worker processes on give "
            "108 MiB for each, or they leave even small pictures to decoders",
        ),
    ] = 1536 * MIB
    body_bytes: Annotated[int, Meta(ge=1024, description="a 100 MP photo is 14 MB; room above it")] = 64 * MIB
    buffered_bytes: Annotated[int, Meta(ge=MIB, description="bodies held at once, all requests together")] = 512 * MIB
    inflate_ratio: Annotated[
        int, Meta(ge=2, description="a compressed body may grow so much; JSON with base64 grows 3 x")
    ] = 50
    rows: Annotated[
        int, Meta(ge=1, description="images or tensor rows in one request; each is scheduled by itself")
    ] = 256
    jpeg_scans: Annotated[
        int, Meta(ge=1, description="a 267 KB file with 1,000 scans costs 29 s; cameras write about 10")
    ] = 100
    headers_bytes: Annotated[int, Meta(ge=1024, description="all fields together")] = 32768
    header_count: Annotated[int, Meta(ge=8, description="HAProxy allows 101")] = 100
    header_bytes: Annotated[int, Meta(ge=512, description="one field, and the request line; 8 KiB, as nginx")] = 8190
    header_seconds: Annotated[float, Meta(gt=0, description="slowloris ends here")] = 10.0
    body_idle_seconds: Annotated[float, Meta(gt=0, description="no byte for this long is a stalled upload")] = 10.0
    body_seconds: Annotated[float, Meta(gt=0, description="the longest upload")] = 120.0
    body_rate: Annotated[int, Meta(ge=0, description="bytes/s an upload must average after its first 10 s")] = 4096
    keepalive_seconds: Annotated[float, Meta(gt=0, description="longer than a gateway keeps an idle connection")] = 75.0
    connections: Annotated[int, Meta(ge=1, description="gateways times their slots, probes, and strangers")] = 1024
    request_seconds: Annotated[float, Meta(gt=0, description="the deadline when nobody names one")] = 30.0


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How images become rows. All nodes of a model must agree, or answers differ by node."""

    jpeg_margin: Annotated[
        float,
        Meta(
            ge=0,
            description="JPEGs are decoded at 1/2, 1/4 or 1/8 while this many times the model's input is left; 0: in full",
        ),
    ] = 2.0
    decoders: Annotated[
        int, Meta(ge=0, description="threads; 0: one per core, at least two, so that small passes big")
    ] = 0


class Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answers to inputs that repeat, by their content and the model's version."""

    bytes: Annotated[int, Meta(ge=0, description="of outputs kept; 0: off, as hashing costs 1 ms a megabyte")] = 0
    entries: Annotated[int, Meta(ge=1, description="rows kept; each takes half a kilobyte beside its outputs")] = (
        100_000
    )


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may load and unload models by a call (docs/operations.md)."""

    token: Annotated[
        str, Meta(description="of /v2/repository/models/…/load and unload; empty: nobody, only the root's files decide")
    ] = ""


class Drain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the node leaves."""

    grace_seconds: Annotated[
        float, Meta(ge=0, description="still served after the withdrawal, until gateways saw it")
    ] = 1.0
    seconds: Annotated[float, Meta(gt=0, description="the longest request, and a little")] = 35.0


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written down."""

    level: Annotated[str, Meta(description="debug, info, warning or error")] = "info"
    format: Annotated[str, Meta(description="json, text, or auto: text on a terminal")] = "auto"


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    pool: Annotated[Literal["light", "heavy"], Meta(description="which requests gateways send here first")] = "light"
    listen: Listen = Listen()
    tls: ServerTls = ServerTls()
    models: Models = Models()
    announce: Announce = Announce()
    registry: RegistryConfig = RegistryConfig()
    session: Session = Session()
    batch: Batch = Batch()
    limits: Limits = Limits()
    images: Images = Images()
    cache: Cache = Cache()
    control: Control = Control()
    drain: Drain = Drain()
    log: Log = Log()
    tracing: Tracing = Tracing()
