"""Connections to nodes: made where nodes may live, kept warm while idle, the latest used first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl

import msgspec

from discovery.instance import Instance
from discovery.networks import Networks, allowed, peer_allowed
from gateway.node_answer import FieldRules
from gateway.node_connection import Connection, ConnectionOptions
from wire.errors import NodeUnreachable

Key = tuple[str, int]
# Idle connections kept per node.
FEWEST_IDLE, MOST_IDLE = 4, 64


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, bytes and counts."""

    connection: ConnectionOptions
    idle_seconds: float = 20.0  # below the idle limit of most servers, so that we close first
    networks: Networks | None = None  # where nodes may live; None allows every address, for tests
    ssl_context: ssl.SSLContext | None = None  # every node is spoken to by TLS with this


class Pool:
    """`take` an idle connection or `connect` a new one; it comes back by itself when its answer is whole."""

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._rules = FieldRules()
        self._idle: dict[Key, list[Connection]] = {}
        self._most: dict[Key, int] = {}
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._empty = asyncio.Event()  # after close: the last connection is gone

    @property
    def open(self) -> int:
        """Connections in all."""
        return len(self._open)

    @property
    def idle(self) -> int:
        """Those of them that wait for work."""
        return sum(map(len, self._idle.values()))

    def take(self, instance: Instance) -> Connection | None:
        """The connection used last; older ones may so grow old enough to be closed."""
        idle = self._idle.get((instance.host, instance.port))
        while idle:
            connection = idle.pop()
            if connection.open:
                return connection
        return None

    async def connect(self, instance: Instance, seconds: float) -> Connection:
        """A new connection. Raises NodeUnreachable, also for an address where no node may live."""
        if instance.tls and self._options.ssl_context is None:
            raise NodeUnreachable("the node wants TLS and the gateway has no certificates for it")
        loop = asyncio.get_running_loop()
        connection = Connection(
            loop, self._rules, self._options.connection, self._settled, (instance.host, instance.port)
        )
        try:
            async with asyncio.timeout(seconds):
                host = await self._address(loop, instance)
                await self._dial(loop, connection, host, instance)
        except BaseException as error:
            if connection.open:
                connection.abort()
            if isinstance(error, (TimeoutError, OSError)):
                raise NodeUnreachable(f"{instance.address}: {_why(error)}") from error
            raise
        # More than a node has slots are never in use at once. Slots are the registry's word: input.
        self._most[connection.key] = min(max(instance.capacity, FEWEST_IDLE), MOST_IDLE)
        self._open.add(connection)
        if self._closed:
            connection.abort()
        return connection

    async def _dial(
        self, loop: asyncio.AbstractEventLoop, connection: Connection, host: str, instance: Instance
    ) -> None:
        context = self._options.ssl_context
        name = instance.host if context is not None else None
        await loop.create_connection(lambda: connection, host, instance.port, ssl=context, server_hostname=name)

    def forget(self, instance: Instance) -> None:
        """Close what waits idle for a node that left."""
        self._most.pop((instance.host, instance.port), None)
        for connection in self._idle.pop((instance.host, instance.port), ()):
            connection.abort()

    async def close(self) -> None:
        """Close everything; exchanges under way end with an error."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort()
        if self._open:
            await self._empty.wait()

    async def _address(self, loop: asyncio.AbstractEventLoop, instance: Instance) -> str:
        """Where to connect to: checked before a single packet is sent (RELIABILITY E6)."""
        networks = self._options.networks
        if networks is None:
            return instance.host
        if not allowed(instance.host, networks):
            raise NodeUnreachable(f"{instance.address}: no node may live there")
        found = await loop.getaddrinfo(instance.host, instance.port, type=1)
        for *_, address in found:
            if peer_allowed(str(address[0]), networks):
                return str(address[0])
        raise NodeUnreachable(f"{instance.address}: its name leads where no node may live")

    def _settled(self, connection: Connection) -> None:
        """A connection finished its answer, or was closed."""
        key = connection.key
        if not connection.open:
            self._open.discard(connection)
            if self._closed and not self._open:
                self._empty.set()
            with contextlib.suppress(KeyError, ValueError):
                self._idle[key].remove(connection)
            return
        idle = self._idle.setdefault(key, [])
        if len(idle) >= self._most.get(key, 0) or self._closed:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        idle.append(connection)
        if self._sweeper is None:
            self._sweep()

    def _sweep(self) -> None:
        """Close what was idle too long, and look again while anything is."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._options.idle_seconds
        for key, idle in list(self._idle.items()):
            for connection in [one for one in idle if one.idle_since < oldest]:
                connection.abort()
                idle.remove(connection)
            if not idle:
                del self._idle[key]
        self._sweeper = loop.call_later(self._options.idle_seconds / 4, self._sweep) if self._idle else None


def _why(error: OSError) -> str:
    """In a few words for the operators' page; loops differ in theirs."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__
