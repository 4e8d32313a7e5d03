"""A node from its start to its end: listen, load, warm, announce, serve; withdraw, finish, leave.

The one place that names concrete parts.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from functools import partial
from importlib.metadata import version
from pathlib import Path

from discovery.instance import Instance, Registrar
from discovery.registry import announced_host, open_registrar
from node import lag, shelf
from node.api import Api
from node.batcher import Batcher
from node.cache import Cache
from node.config import NodeConfig
from node.connection import Connections, UnfitAiohttp, check_aiohttp
from node.control import Control
from node.costs import Costs
from node.credits import Credits
from node.crew import Crew
from node.engine import Engine, Open, Runs
from node.granting import Granting
from node.images import Reader, guard_pillow
from node.intake import Intake
from node.load import Load
from node.member import Order
from node.metrics import Metrics
from node.models import Models
from node.room import Room
from node.session import Session
from node.sizes import Sizes, sizes
from node.spans import Spans
from node.versions import Versions, Way
from node.workers import Workers
from repository.manifest import ArtefactError, read
from tls.contexts import BadCertificate
from tls.credentials import following, server_credentials
from tracing.exporter import open_exporter
from tracing.span import Sampler

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 2.0  # for requests that the drain gave up
_REPLACE_SECONDS = 120.0  # a worker process that is started anew, and the run after that
_LOOK_SECONDS = 0.02  # while leaving: whether all is finished


class CannotStart(Exception):
    """Why a node cannot start; one line for the operator."""


async def run(config: NodeConfig, ready: Callable[[str], None] | None = None, open_session: Open | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. `ready` is told the address once the node is warm and announced."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        node = Node(config, open_session)
        await node.start()
        loop.add_signal_handler(signal.SIGHUP, node.renew)
    except (CannotStart, ArtefactError, BadCertificate, UnfitAiohttp) as error:
        log.error("cannot start: %s", error)
        return 1
    try:
        if await _unless(stop, node.become_ready()):
            if ready is not None:
                ready(node.address)
            await stop.wait()
        log.info("leaving", extra={"in_progress": node.api.in_progress})
        await node.leave()
    except (CannotStart, ArtefactError) as error:
        log.error("cannot start: %s", error)
        return 1
    finally:
        await node.close()
    return 0


async def _unless(stop: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Whether `work` was done before we were told to stop. Raises what it raises."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        await working
        return True
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return False


class Node:
    """The parts of one node, joined."""

    def __init__(self, config: NodeConfig, open_session: Open | None = None) -> None:
        check_aiohttp()
        self.config = config
        self.sizes = sizes(config)
        guard_pillow(self.sizes.max_pixels)
        try:
            self._exporter = open_exporter(config.tracing, "fleetgate-node", version("fleetgate"))
        except ValueError as error:
            raise CannotStart(str(error)) from None
        self.metrics = Metrics()
        self._loader = Workers("loader", 1)
        self._runners = Workers("runner", self.sizes.runners)
        self._decoders = Workers("decoder", self.sizes.decoders)
        self._beside = Workers("beside", 1)
        self._costs = Costs()
        reader = Reader(self.sizes.max_pixels, config.limits.jpeg_scans, config.images.jpeg_margin)
        self._open_session = open_session or partial(_open, config, self.sizes, reader, self.metrics.lost)
        self.models = Models([self._engine(place) for place in shelf.artefacts(config.models)])
        way = Way(self._engine, self._announce, self.metrics.changed, self._forget, config.drain.grace_seconds)
        self.versions = Versions(self.models, config.models, way, self._costs, self._beside)
        self._control = Control(self.versions, config.control.token)
        self.load = Load(self.sizes.slots, config.limits.waiting, self.sizes.runners, time.monotonic())
        self.granting = Granting(Credits(self.sizes.slots))
        self._cache = Cache(config.cache) if config.cache.bytes else None
        intake = Intake(reader, self._costs, config.limits.rows, digests=self._cache is not None)
        self.batcher = self._batcher(intake, 0 if open_session else self.sizes.processes)
        self.api = Api(
            models=self.models,
            intake=intake,
            batcher=self.batcher,
            load=self.load,
            granting=self.granting,
            metrics=self.metrics,
            limits=config.limits,
            beside=self._beside,
            control=self._control,
            cache=self._cache,
        )
        tls = config.tls
        self._certificate = server_credentials("node", tls) if tls.cert_file else None
        if self._exporter is not None:
            scheme = "http" if self._certificate is None else "https"
            self.api.spans = Spans(Sampler(config.tracing.sample_ratio).takes, self._exporter.put, scheme)
        self._gauges()
        self._connections = Connections(self.api.handle, config.limits)
        self._listener: asyncio.Server | None = None
        self._bound = config.listen.host, config.listen.port
        self._registrar: Registrar | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port that it listens on."""
        host, port = self._bound
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self) -> None:
        """Listen: alive at once, ready later. Raises CannotStart."""
        listen = self.config.listen
        try:
            self._registrar = open_registrar(self.config.registry)
            self._listener = await asyncio.get_running_loop().create_server(
                self._connections,
                listen.host,
                listen.port,
                backlog=listen.backlog,
                ssl=following(self._certificate) if self._certificate else None,
                ssl_handshake_timeout=self.config.tls.handshake_seconds if self._certificate else None,
            )
        except ValueError as error:
            raise CannotStart(str(error)) from None
        except OSError as error:
            raise CannotStart(f"cannot listen on {listen.host}:{listen.port}: {error.strerror or error}") from None
        self._bound = self._listener.sockets[0].getsockname()[:2]
        if self._certificate is not None:
            looking = self._certificate.watch(self.config.tls.look_seconds)
            self._tasks.append(asyncio.create_task(looking, name="certificate"))
        self._tasks.append(asyncio.create_task(lag.watch(self.metrics.lag), name="lag"))

    def renew(self) -> None:
        """Read the certificate's files now."""
        if self._certificate is not None:
            self._certificate.reload()

    async def become_ready(self) -> None:
        """Load and warm every model, then announce. Raises ArtefactError or CannotStart."""
        await self.versions.start()
        assert self._registrar is not None
        try:
            await self._registrar.announce(self._instance())
        except (ValueError, OSError) as error:
            raise CannotStart(f"cannot announce: {error}") from None
        if self.config.models.watch_seconds and not self.config.models.artefacts:
            self._watching = asyncio.create_task(self.versions.watch(), name="watch models")
            self._tasks.append(self._watching)

    async def leave(self) -> None:
        """Tell gateways, serve on for a while, then take nothing new and finish what has begun to come."""
        drain, leaving = self.config.drain, self.api.leaving
        leaving.announced = time.monotonic()
        if self._watching is not None:
            self._watching.cancel()
        await self._control.close()
        if self._registrar is not None:
            await self._registrar.withdraw()
        await asyncio.sleep(drain.grace_seconds)
        leaving.refusing = time.monotonic()
        self.granting.close()
        if self._listener is not None:
            self._listener.close()
        end = leaving.announced + drain.seconds
        # Heads half received and messages of aiohttp's queue tell nobody when they are done: we look.
        while (self.api.in_progress or self._connections.half_heads) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        if self.api.in_progress:
            log.warning("unfinished requests are given up", extra={"requests": self.api.in_progress})

    async def close(self) -> None:
        """Out of the registry, connections closed, sessions released."""
        if self._listener is not None:
            self._listener.close()
        if self._registrar is not None:
            await self._registrar.close()
        self.granting.close()
        self._connections.pre_shutdown()  # idle connections end; aiohttp's shutdown alone would wait for them
        await self._connections.shutdown(_CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for engine in self.models.engines:
            await engine.close()
        if self._exporter is not None:
            await self._exporter.close()
        await self.versions.close()
        for workers in (self._loader, self._runners, self._decoders, self._beside):
            workers.close()

    def _batcher(self, intake: Intake, processes: int) -> Batcher:
        config = self.config
        return Batcher(
            decode=intake.decode,
            decoders=self._decoders,
            runners=self._runners,
            room=Room(config.limits.max_decoded_bytes, processes),
            costs=self._costs,
            options=config.batch,
            # Worker processes see to it themselves: then this is for what not even ending one brings back.
            hang_seconds=config.session.hang_seconds + (_REPLACE_SECONDS if processes else 0.0),
            watch=self.metrics,
            cache=self._cache,
        )

    def _engine(self, place: Path) -> Engine:
        return Engine(place, read(place), self._open_session, self._loader, self.config.session.rebuild_seconds)

    def _forget(self, engine: Engine) -> None:
        self._costs.forget(lambda bucket: isinstance(bucket, tuple) and bucket[0] is engine)
        if self._cache is not None:
            self._cache.forget(engine)

    async def _announce(self) -> None:
        """Tell the registry what has changed; a node that is leaving has told it all."""
        if self._registrar is None or self.api.leaving.announced:
            return
        try:
            await self._registrar.announce(self._instance())
        except (ValueError, OSError) as error:
            log.error("cannot announce what is served now: %s", error)

    def _instance(self) -> Instance:
        announce, registry = self.config.announce, self.config.registry
        host = announce.host or announced_host(self.config.listen.host, registry)
        port = announce.port or self._bound[1]
        return Instance(
            id=f"{registry.service}-{host}-{port}",
            host=host,
            port=port,
            pool=self.config.pool,
            models=self.models.titles,
            capacity=self.sizes.slots,
            max_pixels=self.sizes.max_pixels,
            device=announce.device or self.models.default.device,
            speed=announce.speed,
            tls=self._certificate is not None,
        )

    def _gauges(self) -> None:
        gauge, batcher = self.metrics.gauge, self.batcher
        gauge("inference_requests_running", "Requests in a slot.", lambda: min(self.load.admitted, self.load.slots))
        gauge("inference_requests_waiting", "Requests behind the slots.", lambda: self.load.queued)
        gauge("inference_rows_running", "Images or tensor rows in hand.", lambda: batcher.running)
        gauge("inference_rows_waiting", "Images or tensor rows waiting.", lambda: batcher.waiting)
        gauge("inference_work_seconds", "Predicted work not yet done.", lambda: self.load.work_ms / 1000)
        if (certificate := self._certificate) is not None:
            text = "When the certificate in use ends."
            gauge("inference_tls_certificate_expiry_timestamp_seconds", text, lambda: certificate.expires)
        credit = self.granting.credits
        gauge("inference_gateways", "Gateways that are here.", lambda: len(credit.seats))
        gauge("inference_credits_held", "Credits in use, granted ones among them.", lambda: len(credit.stays))
        gauge("inference_credits_granted", "Credits whose requests have not come yet.", lambda: credit.reserved)
        self.metrics.counts("inference_grants", "What gateways were answered.", "answer", credit.answers)
        gauge("inference_decoded_bytes", "Bytes held by images being decoded.", lambda: batcher.room.held)
        gauge(
            "inference_models_ready",
            "Models that can serve.",
            lambda: len(self.models.engines) - len(self.models.unready),
        )
        if (cache := self._cache) is not None:
            count = self.metrics.count
            count("inference_cache_hits", "Rows answered from the cache.", lambda: cache.hits)
            count("inference_cache_coalesced", "Rows answered by an equal one in progress.", lambda: cache.coalesced)
            count("inference_cache_misses", "Rows that were not in the cache.", lambda: cache.misses)
            gauge("inference_cache_rows", "Rows in the cache.", lambda: len(cache))
            gauge("inference_cache_bytes", "Bytes that the cache holds.", lambda: cache.bytes)
        gauge("inference_models_failed", "Versions that could not be loaded.", lambda: len(self.models.failures))


def _open(
    config: NodeConfig, counts: Sizes, reader: Reader, lost: Callable[[], None], artefact: Path, *, gently: bool
) -> Runs:
    options = config.session
    if counts.processes:
        threads = max(1, counts.threads // counts.runners)
        order = Order(artefact, threads, options.device, config.batch.max_rows, gently, reader)
        return Crew(order, counts.processes, config.models.load_seconds, options.hang_seconds, lost)
    return Session.load(
        artefact,
        counts.threads,
        counts.runners,
        device=options.device,
        max_rows=config.batch.max_rows,
        gently=gently,
        progress=log.info,
    )
