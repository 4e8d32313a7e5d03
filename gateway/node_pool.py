"""Connections to nodes: made where nodes may live, kept warm while idle, the latest used first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl

import msgspec

from discovery.instance import Instance
from discovery.networks import Networks, allowed, peer_allowed
from gateway.node_answer import FieldRules
from gateway.node_connection import Connection, ConnectionOptions, Shelf
from gateway.node_deadlines import Deadlines
from gateway.node_head import forged
from wire.errors import NodeUnreachable

# Idle connections kept per node.
FEWEST_IDLE, MOST_IDLE = 4, 64


class PoolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, bytes and counts."""

    connection: ConnectionOptions
    idle_seconds: float = 20.0  # below the idle limit of most servers, so that we close first
    networks: Networks | None = None  # where nodes may live; None allows every address, for tests
    ssl_context: ssl.SSLContext | None = None  # every node is spoken to by TLS with this
    server_name: str = ""  # what their certificates name instead of their addresses


class Pool:
    """`take` an idle connection or `connect` a new one; it comes back by itself when its answer is whole."""

    def __init__(self, options: PoolOptions) -> None:
        self.options = options
        self._loop = asyncio.get_running_loop()
        self._rules = FieldRules()
        self._shelves: dict[tuple[str, int], Shelf] = {}
        self.connections: set[Connection] = set()  # all that are open
        self.deadlines = Deadlines(self._loop, self.connections)
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._empty = asyncio.Event()  # after close: the last connection is gone

    @property
    def open(self) -> int:
        """Connections in all."""
        return len(self.connections)

    @property
    def idle(self) -> int:
        """Those of them that wait for work."""
        return sum(len(shelf.connections) for shelf in self._shelves.values())

    def take(self, instance: Instance) -> Connection | None:
        """The connection used last; older ones may so grow old enough to be closed."""
        shelf = self._shelves.get((instance.host, instance.port))
        while shelf is not None and shelf.connections:
            connection = shelf.connections.pop()
            if connection.open:
                return connection
        return None

    async def connect(self, instance: Instance, seconds: float) -> Connection:
        """A new connection. Raises NodeUnreachable, also for an address where no node may live."""
        shelf = self._shelf(instance)
        connection = Connection(self._loop, self._rules, self.options.connection, self._settled, shelf)
        try:
            await self.dial(connection, instance, seconds)
        except BaseException:
            if connection.open:
                connection.abort()
            raise
        self.connections.add(connection)
        if self._closed:
            connection.abort()
        return connection

    def trust(self, context: ssl.SSLContext) -> None:
        """Connect with this context from now on; connections that stand are left as they are."""
        self.options = msgspec.structs.replace(self.options, ssl_context=context)

    async def dial(self, protocol: asyncio.Protocol, instance: Instance, seconds: float) -> None:
        """Connect anything to a node; raises as `connect`. What it then does is not the pool's business."""
        if instance.tls and self.options.ssl_context is None:
            raise NodeUnreachable("a node wants TLS and the gateway has no certificates for it")
        try:
            async with asyncio.timeout(seconds):
                await self._dial(protocol, await self._address(instance), instance)
        except (TimeoutError, OSError) as error:
            raise NodeUnreachable(f"no connection to a node: {_why(error)}") from error

    def forget(self, instance: Instance) -> None:
        """Close what waits idle for a node that left."""
        shelf = self._shelves.pop((instance.host, instance.port), None)
        if shelf is not None:
            shelf.most = 0
            for connection in shelf.connections:
                connection.abort()

    async def close(self) -> None:
        """Close everything; exchanges under way end with an error."""
        self._closed = True
        self.deadlines.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.abort()
        if self.connections:
            await self._empty.wait()

    def _shelf(self, instance: Instance) -> Shelf:
        key = (instance.host, instance.port)
        shelf = self._shelves.get(key)
        if shelf is None:
            if forged(instance.address):
                raise NodeUnreachable("the registry names a node by what is no address")
            shelf = self._shelves[key] = Shelf(instance.address, FEWEST_IDLE)
        # More than a node has slots are never in use at once. Slots are the registry's word: input.
        shelf.most = min(max(instance.capacity, FEWEST_IDLE), MOST_IDLE)
        return shelf

    async def _dial(self, protocol: asyncio.Protocol, host: str, instance: Instance) -> None:
        context = self.options.ssl_context
        name = self.options.server_name or instance.host if context is not None else None
        await self._loop.create_connection(lambda: protocol, host, instance.port, ssl=context, server_hostname=name)

    async def _address(self, instance: Instance) -> str:
        """Where to connect to: checked before a single packet is sent (RELIABILITY E6)."""
        networks = self.options.networks
        if networks is None:
            return instance.host
        if not allowed(instance.host, networks):
            raise NodeUnreachable("no node may live at the address the registry names")
        found = await self._loop.getaddrinfo(instance.host, instance.port, type=socket.SOCK_STREAM)
        for *_, address in found:
            if peer_allowed(str(address[0]), networks):
                return str(address[0])
        raise NodeUnreachable("a node's name leads where no node may live")

    def _settled(self, connection: Connection) -> None:
        """A connection finished its answer, or was closed."""
        connections = connection.shelf.connections
        if not connection.open:
            self._gone(connection)
        elif len(connections) < connection.shelf.most and not self._closed:
            connections.append(connection)
            if self._sweeper is None:
                self._sweep()
        else:
            connection.abort()

    def _gone(self, connection: Connection) -> None:
        self.connections.discard(connection)
        with contextlib.suppress(ValueError):
            connection.shelf.connections.remove(connection)
        if self._closed and not self.connections:
            self._empty.set()

    def _sweep(self) -> None:
        """Close what was idle too long, and look again while anything is."""
        oldest = self._loop.time() - self.options.idle_seconds
        for shelf in self._shelves.values():
            for connection in shelf.connections:
                if connection.idle_since < oldest:
                    connection.abort()
            shelf.connections = [one for one in shelf.connections if one.open]
        again = self.options.idle_seconds / 4
        self._sweeper = self._loop.call_later(again, self._sweep) if self.idle else None


def _why(error: OSError) -> str:
    """In a few words for the operators' page, without addresses: clients may read it too. Loops differ in theirs."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.partition(',')[0]}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "not in time"
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__
