"""Joins the parts of one gateway and runs it: the only file that names concrete parts."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
from aiohttp import web

from discovery.instance import Instance, Snapshot, Watcher
from discovery.networks import allowed, parse_networks
from discovery.registry import open_watcher
from gateway import listening, memory
from gateway.access_log import AccessLog
from gateway.admission import ConnectionCap
from gateway.api import Api
from gateway.backend import Backend
from gateway.config import GatewayConfig
from gateway.costs import Costs
from gateway.dashboard.app import build
from gateway.dashboard.encryption import EncryptionMetrics
from gateway.dashboard.grants import GrantMetrics
from gateway.dashboard.parts import Parts
from gateway.dispatcher import Dispatcher
from gateway.door import Door, HandDoor, Manner
from gateway.encryption import Encryption
from gateway.fleet import Change, Fleet
from gateway.forwarding import Forwarding, Trust
from gateway.health import Prober
from gateway.journal import Journal
from gateway.local_calls import LocalCalls
from gateway.metrics import Metrics
from gateway.node_client import NodeClient
from gateway.registry_state import RegistryState
from gateway.retry_budget import RetryBudget
from gateway.scheduler import Scheduler
from gateway.server import Server, UnfitAiohttp, check_aiohttp
from gateway.sharing import Sharing
from gateway.spans import Spans
from gateway.trace import Trace, own_path
from gateway.workers import live
from gateway.workers.loads import Loads
from gateway.workers.telling import telling
from tls.credentials import following
from tracing.exporter import open_exporter
from tracing.span import Sampler

_log = logging.getLogger("gateway")
Ready = Callable[[str, str], None]
# What knocks at the moment of leaving lies in the kernel's queues: it is taken in before the door is closed.
_LAST_CALL_SECONDS = 0.05
_TELL_SECONDS = 0.02


async def run(
    config: GatewayConfig, ready: Ready | None = None, reread: Callable[[], GatewayConfig] | None = None
) -> int:
    """Serve until SIGTERM or SIGINT, finish what has begun, and return the exit code.

    `ready` is called once with the public and the operators' address, when the registry has answered. `reread` is
    called on SIGHUP, and raises ValueError for a configuration that cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        prepare(config)
        rng = Random()
        gateway = Gateway(config, open_watcher(config.registry, rng), rng)
        addresses = await gateway.start(stop)
    except (listening.CannotListen, UnfitAiohttp, ValueError) as error:
        _log.error("cannot start", extra={"fields": {"why": str(error)}})
        return 1
    loop.add_signal_handler(signal.SIGHUP, _reload, gateway, reread or (lambda: config))
    memory.settle()
    first = loop.create_task(gateway.first_snapshot.wait())
    first.add_done_callback(lambda _: None if ready is None or stop.is_set() else ready(*addresses))
    await stop.wait()
    first.cancel()
    return await gateway.stop()


def _reload(gateway: Gateway, reread: Callable[[], GatewayConfig]) -> None:
    """Take over what a running process can."""
    before = gateway.config
    try:
        config = reread()
        live.check(config)
    except ValueError as error:
        _log.warning("the configuration is not taken, the old one stays", extra={"fields": {"why": str(error)}})
        return
    changed = list(live.changes(before, config))
    gateway.configure(config)
    _log.info("configuration read again", extra={"fields": {"changed": [*filter(live.is_live, changed)]}})
    if later := [option for option in changed if not live.is_live(option)]:
        why = "needs new processes: workers.parent = always, or a restart"
        _log.warning("not all of the configuration is taken", extra={"fields": {"options": later, "why": why}})


def prepare(config: GatewayConfig) -> None:
    """Make this process fit to be a gateway. Raises UnfitAiohttp."""
    check_aiohttp()
    memory.keep_freed()
    _raise_file_limit(config.limits.connections)


class Place(NamedTuple):
    """Where a gateway serves that is one of several worker processes."""

    sockets: list[socket.socket]  # listening, and shared with the others
    operators: Path  # of the socket at which the parent asks
    loads: Loads  # of all
    number: int  # of our place among them


class Gateway:
    """One gateway. Its state can be rebuilt in seconds from the registry and the nodes."""

    def __init__(self, config: GatewayConfig, watcher: Watcher, rng: Random, place: Place | None = None) -> None:
        """Raises ValueError, one line, for options that cannot be right."""
        self.config = config
        self._place = place
        self._networks = parse_networks(config.security.node_networks)
        trust = Trust(config.security.trusted_proxies)
        self.fleet = Fleet(config.health, rng)
        self.scheduler = Scheduler(self.fleet, Costs(), config.routing, rng)
        retry, buffer_bytes = config.retry, config.limits.answer_buffer_bytes
        self.encryption = Encryption(config.tls, config.node_tls)
        self.client = NodeClient(
            retry.connect_seconds, buffer_bytes, self._networks, server_name=config.node_tls.server_name
        )
        self.encryption.secure(self.client.pool)
        self.prober = Prober(self.fleet, self.client.pool, config.health, rng, self._judged)
        self.sharing = Sharing(self.fleet, self.client.pool, rng)
        budget = RetryBudget(retry.budget, retry.budget_min)
        self.dispatcher = Dispatcher(
            self.scheduler,
            self.fleet,
            self.client,
            budget,
            retry.attempts,
            self.prober.suspect,
            self.sharing.grants,
            rng,
        )
        self.sharing.decided, self.sharing.changed = self.dispatcher.decided, self.dispatcher.stir
        self.metrics = Metrics()
        self.journal = Journal()
        self.registry = RegistryState(config.registry.url)
        self.api = Api(
            config.limits,
            self.fleet,
            self.scheduler,
            self.dispatcher,
            Forwarding(config.listen.pseudonym, trust, self.encryption.scheme),
            LocalCalls(version("fleetgate"), self.can_serve, lambda: self.server.draining),
            node_names=config.operator.node_names,
            observers=[self.metrics, self.journal, AccessLog(config.log, rng)],
        )
        self._open_traces()
        self._trust = trust
        self.server = Server(self.api.handle, config.limits, self._cap())
        self.watcher = watcher
        self.first_snapshot = asyncio.Event()
        self._refused: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._opened = False
        self._failed = False

    def _open_traces(self) -> None:
        """What is written of each request beside the log: spans for a collector, a line for simulations."""
        config, place = self.config, self._place
        self.spans = open_exporter(config.tracing, "fleetgate-gateway", version("fleetgate"))
        if self.spans is not None:
            self.api.sampled = Sampler(config.tracing.sample_ratio).takes
            to_nodes = "https" if self.encryption.nodes is not None else "http"
            spans = Spans(self.spans.put, self.encryption.scheme, to_nodes)
            self.api.observers.insert(0, spans)  # the first: it looks at the clock
        self.trace: Trace | None = None
        if config.log.trace:
            path, log = own_path(Path(config.log.trace), place.number if place else None), config.log
            self.trace = Trace(path, self.fleet, log.trace_bytes, log.trace_files)
            self.api.observers.append(self.trace)

    def can_serve(self) -> bool:
        """Whether any node may be given requests now."""
        return any(backend.usable for backend in self.fleet.backends.values())

    async def start(self, stop: asyncio.Event) -> tuple[str, str]:
        """Open both listeners and begin to watch; the two addresses. `stop` is set if a part fails later.

        A worker's public listener stays closed until `open`. Raises CannotListen.
        """
        listen, operator, place = self.config.listen, self.config.operator, self._place
        loop = asyncio.get_running_loop()
        sockets = place.sockets if place else listening.bind(listen.host, listen.port, listen.backlog)
        public = listening.address(sockets[0].getsockname())
        self._door = self._door_of(sockets)
        if place is None:
            await self.open()
        application = build(self._parts()) if place is None else telling(self._parts())
        self._operators = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        try:
            await self._operators.setup()
            with listening.told(operator.host, operator.port):
                await self._operator_site().start()
        except BaseException:
            self._door.close()
            await self._operators.cleanup()
            raise
        works = [self._watch(), self.server.keep_deadlines()]
        if self.trace is not None:
            works.append(self.trace.keep_flushed())
        if self.encryption.used:
            works.append(self.encryption.watch())
        if place is not None:
            works.append(self._keep_told())
        for work in works:
            task = loop.create_task(work)
            task.add_done_callback(lambda done: self._ended(done, stop))
            self._tasks.append(task)
        operators = str(place.operators) if place else listening.address(self._operators.addresses[0])
        _log.info("listening", extra={"fields": {"public": public, "operators": operators}})
        return public, operators

    async def open(self) -> None:
        """Take in clients."""
        self._opened = True
        await self._door.open(self.config.listen.backlog)

    def configure(self, config: GatewayConfig) -> None:
        """Take over what can be changed while running (workers/live.py); the certificates' files are read again."""
        self.scheduler.reconfigure(live.routing(self.scheduler.routing, self.config, config))
        self.dispatcher.pump()
        self.encryption.reload()
        with suppress(ValueError):  # an unknown word is "info" at start, and no reason to end now
            logging.getLogger().setLevel(config.log.level.upper())
        running = self.config
        log = msgspec.structs.replace(running.log, level=config.log.level)
        self.config = msgspec.structs.replace(running, routing=config.routing, log=log)

    def hurry(self) -> None:
        """While stopping with a grace: wait for idle clients no longer."""
        self.server.hurry()

    async def stop(self, grace: float = 0.0) -> int:
        """Take nothing new, finish what has begun, close everything; the exit code. `grace`: see Server.drain."""
        _log.info("draining", extra={"fields": {"requests": self.api.in_flight}})
        self._opened = False
        if self._place is not None:
            self._place.loads.leave(self._place.number)
        self.server.draining = not grace  # with one, others take in who comes, and nobody is to be hurried
        if not grace:
            await asyncio.sleep(_LAST_CALL_SECONDS)
        self._door.close()
        await self._door.closed()
        finished = await self.server.drain(self.config.limits.drain_seconds + grace, grace)
        if not finished:
            _log.warning("drain took too long; what was left is cut off")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.watcher.close()
        await self.prober.close()
        await self.sharing.close()
        await self.client.close()
        await self._operators.cleanup()
        if self.spans is not None:
            await self.spans.close()
        _log.info("stopped")
        return 1 if self._failed else 0

    async def _watch(self) -> None:
        async for snapshot in self.watcher.snapshots():
            self.registry.seen(snapshot, time.time())
            change = self.fleet.adopt(self._permitted(snapshot), time.monotonic())
            self._changed(change)
            self.first_snapshot.set()

    def _judged(self, backend: Backend, change: Change) -> None:
        """After a probe: what a hung node holds is taken back and tried elsewhere."""
        if backend.standing.probed is False:
            self.client.give_up(backend)
        self._changed(change)

    def _changed(self, change: Change) -> None:
        self.prober.follow(change.joined, change.left)
        self.sharing.follow(change.joined, change.left)
        for backend in change.left:
            self.client.pool.forget(backend.instance)
        if change.left:
            known = frozenset(self.fleet.backends)
            self.metrics.keep(known)
            self.journal.keep(known)
        self.dispatcher.pump()

    def _permitted(self, snapshot: Snapshot) -> Snapshot:
        """Without nodes where none may live: what a registry says is input."""
        good = frozenset(each for each in snapshot.instances if allowed(each.host, self._networks))
        for each in snapshot.instances - good:
            self._refuse(each)
        return Snapshot(instances=good, stale=snapshot.stale)

    def _refuse(self, instance: Instance) -> None:
        if instance.id in self._refused or len(self._refused) > 1000:
            return
        self._refused.add(instance.id)
        fields = {"node": instance.id, "host": instance.host}
        _log.warning("the registry names a node where none may live", extra={"fields": fields})

    def _operator_site(self) -> web.BaseSite:
        if self._place is not None:
            return web.UnixSite(self._operators, self._place.operators)
        return web.TCPSite(self._operators, self.config.operator.host, self.config.operator.port)

    def _cap(self) -> ConnectionCap:
        limits = self.config.limits
        return ConnectionCap(limits.connections, limits.connections_per_client, self._trust.believes)

    def _door_of(self, sockets: list[socket.socket]) -> Door | HandDoor:
        public = self.encryption.public
        if public is None and self._place is None:
            return Door(sockets, self.server)
        manner = Manner(
            cap=self._cap(),
            failures=self.encryption.failures,
            context=following(public) if public else None,
            handshake_seconds=self.config.tls.handshake_seconds,
            ours=self._is_next,
        )
        return HandDoor(sockets, self.server, manner)

    def _is_next(self) -> bool:
        """Whether no other worker has fewer connections; tells them of ours."""
        place = self._place
        if place is None:
            return True
        ours = self.server.cap.open + self._door.entering
        place.loads.set(place.number, ours)
        return ours <= place.loads.fewest()

    async def _keep_told(self) -> None:
        """Connections that have ended must be known too; until cancelled."""
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            if self._opened and not self.server.draining:
                self._is_next()

    def _parts(self) -> Parts:
        return Parts(
            fleet=self.fleet,
            scheduler=self.scheduler,
            journal=self.journal,
            metrics=self.metrics,
            registry=self.registry,
            config=self.config,
            in_flight=lambda: self.api.in_flight,
            draining=lambda: self.server.draining,
            changed=self.dispatcher.pump,
            collectors=[EncryptionMetrics(self.encryption), GrantMetrics(self.sharing.grants.counts)],
        )

    def _ended(self, task: asyncio.Task[None], stop: asyncio.Event) -> None:
        """None of them ends by itself: a gateway without its watcher or its deadlines must not look healthy."""
        if task.cancelled():
            return
        self._failed = True
        _log.error("a part of the gateway failed", exc_info=task.exception())
        stop.set()


def _raise_file_limit(connections: int) -> None:
    """As many file descriptors as this process may have: the usual 1,024 are fewer than its connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "infinity" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if 0 <= most < 2 * connections:
        fields = {"files": most, "connections": connections}
        _log.warning(
            "fewer files may be open than connections are allowed, each with one to a node", extra={"fields": fields}
        )
