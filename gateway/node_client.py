"""One attempt on one node: the request goes out, the answer or a wire error comes back. Nothing foreign leaves here."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Protocol

from discovery.instance import Instance
from discovery.networks import Networks
from gateway.node_answer import Answer, Refused
from gateway.node_connection import ClosedUnanswered, Connection, ConnectionOptions, Waiter
from gateway.node_head import Outgoing, OutgoingBody, request_head
from gateway.node_pool import Pool, PoolOptions
from wire.errors import BadRequest, ClientGone, NodeUnreachable


class Target(Protocol):
    """Where an attempt goes; a Backend is one."""

    @property
    def instance(self) -> Instance:
        """Its address."""
        ...


class NodeClient:
    """Sends requests to nodes over pooled connections. One per event loop; `close` it at the end."""

    def __init__(
        self,
        connect_seconds: float,
        answer_buffer_bytes: int,
        networks: Networks | None = None,
        ssl_context: ssl.SSLContext | None = None,
        idle_seconds: float = 20.0,
        stall_seconds: float = 10.0,
        server_name: str = "",
    ) -> None:
        """`networks`: where nodes may live, None allows all. With `ssl_context` every node is spoken to by TLS.

        Its certificate must name `server_name`, or the node's address if that is empty.
        """
        self._loop = asyncio.get_running_loop()
        self._connect_seconds = connect_seconds
        self.pool = Pool(
            PoolOptions(
                connection=ConnectionOptions(buffer_bytes=answer_buffer_bytes, stall_seconds=stall_seconds),
                idle_seconds=idle_seconds,
                networks=networks,
                ssl_context=ssl_context,
                server_name=server_name,
            )
        )

    async def attempt(self, backend: Target, request: Outgoing, budget_ms: float) -> Answer:
        """The node's answer, or its beginning, within `budget_ms` from now.

        Raises NodeUnreachable (no connection, or it ended before any answer), NodeBusy (refused before reading; as
        `Refused` it holds the node's load report), NodeGarbage, DeadlineMissed, and whatever reading the body raises.
        When cancelled, the node sees its connection close.
        """
        instance, body = backend.instance, request.body
        deadline = self._loop.time() + budget_ms / 1000
        # A body that can be sent once only must not meet a connection that was closed while it was idle.
        whole = body.complete and body.replayable
        connection = self.pool.take(instance) if whole else None
        if connection is not None:
            waiter = self._ask(connection, instance, request, whole, deadline)
            try:
                answer = await waiter
                return answer if not answer.refused else _taken(answer)
            except ClosedUnanswered:
                pass  # a fresh one tells whether the node is there
            except asyncio.CancelledError:
                connection.give_up(waiter, ClientGone())
                raise
        dialled = time.perf_counter()  # the loop's own clock may tick in milliseconds
        connection = await self.pool.connect(instance, min(self._connect_seconds, deadline - self._loop.time()))
        connect_ms = (time.perf_counter() - dialled) * 1000
        answer = await self._exchange(connection, instance, request, whole, deadline)
        answer.connect_ms, answer.reused = connect_ms, False
        return answer

    def give_up(self, backend: Target) -> int:
        """End whatever this node was asked and has not answered with NodeUnreachable; how many attempts that were."""
        address = backend.instance.address
        hung = [one for one in self.pool.connections if one.awaited and one.shelf.address == address]
        for connection in hung:
            connection.fail(NodeUnreachable("the node stopped answering"))
        return len(hung)

    async def close(self) -> None:
        """Close all connections; whatever is under way ends with an error."""
        await self.pool.close()

    def _ask(
        self, connection: Connection, instance: Instance, request: Outgoing, whole: bool, deadline: float
    ) -> Waiter:
        """Send the head, and the body if all of it is here."""
        body = request.body
        left = deadline - self._loop.time()
        if left <= 0:
            connection.abort()
            raise NodeUnreachable("no time was left to ask the node")
        head = request_head(request, connection.shelf.address, body.size, left * 1000)
        ours = instance.protocol == "fleetgate"
        waiter = connection.ask(head, body.buffered if whole else (), uploading=not whole, echo=ours)
        self.pool.deadlines.watch(connection, deadline)
        return waiter

    async def _exchange(
        self, connection: Connection, instance: Instance, request: Outgoing, whole: bool, deadline: float
    ) -> Answer:
        waiter = self._ask(connection, instance, request, whole, deadline)
        body = request.body
        upload = None if whole else self._loop.create_task(_upload(connection, waiter, body, body.size))
        try:
            return _taken(await waiter)
        except asyncio.CancelledError:
            connection.give_up(waiter, ClientGone())
            raise
        finally:
            if upload is not None:
                upload.cancel()
                await asyncio.wait([upload])


def _taken(answer: Answer) -> Answer:
    """The answer of a node that took the request."""
    if answer.refused:
        answer.discard()
        raise Refused(answer.report)
    return answer


async def _upload(connection: Connection, waiter: Waiter, body: OutgoingBody, length: int | None) -> None:
    """Send a body as it comes, no faster than the node takes it, until its end or an early answer."""
    sent = 0
    try:
        async for piece in body:
            if connection.answered:
                return
            if piece:
                sent += len(piece)
                connection.write([piece] if length is not None else [b"%x\r\n" % len(piece), piece, b"\r\n"])
                await connection.drained()
        if length is None:
            connection.write([b"0\r\n\r\n"])
        elif sent != length:
            raise BadRequest("the body is not as long as its Content-Length")
    except Exception as error:  # whatever it is, it is what the attempt ends with
        connection.give_up(waiter, error)
    else:
        connection.uploading = False
