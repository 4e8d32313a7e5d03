"""The HTTP face: a request is checked, sized, sent on its way, answered; the only place where errors are answered."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec
from aiohttp.streams import EMPTY_PAYLOAD

from gateway import answers, forwarding, sizing, strict
from gateway.admission import ByteBudget
from gateway.body import Body
from gateway.config import Limits
from gateway.dispatcher import Dispatcher, Served
from gateway.exchange import Exchange
from gateway.fleet import Fleet
from gateway.forwarding import Forwarding
from gateway.local_calls import LOCAL, LocalCalls
from gateway.node_answer import Answer
from gateway.outcome import Outcome
from gateway.request import Request
from gateway.scheduler import Scheduler
from gateway.ticket import Ticket
from wire import ids, paths
from wire.errors import (
    BadRequest,
    ClientGone,
    LengthRequired,
    NodeGarbage,
    NoNode,
    NotFound,
    QueueFull,
    WireError,
)
from wire.headers import (
    ATTEMPTS,
    EXPLAIN,
    INFERENCE_HEADER_LENGTH,
    NODE,
    POOL,
    REQUEST_ID,
    RETRY_AFTER,
    SERVER_TIMING,
)
from wire.paths import Call
from wire.sniff import Sniffer

_log = logging.getLogger("gateway.api")


class Observer(Protocol):
    """Whoever wants to know how requests ended."""

    def finished(self, outcome: Outcome) -> None:
        """One request has ended."""
        ...


class Api:
    """Handles one exchange after another; built once, by app.py."""

    def __init__(
        self,
        limits: Limits,
        fleet: Fleet,
        scheduler: Scheduler,
        dispatcher: Dispatcher,
        forward: Forwarding,
        local: LocalCalls,
        *,
        node_names: bool,
        observers: list[Observer],
    ) -> None:
        self._limits = limits
        self._fleet = fleet
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._forward = forward
        self._local = local
        self._node_names = node_names
        self.observers = observers
        self.bytes = ByteBudget(limits.buffered_bytes)
        self._no_body = Body(EMPTY_PAYLOAD, 0, limits, self.bytes)
        self.in_flight = 0

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request. Raises nothing but cancellation: the client hung up."""
        outcome = Outcome(
            at=time.time(),
            request_id="",
            method=exchange.method,
            route="other",
            path=exchange.target,
            status=0,
            client=exchange.client,
        )
        self.in_flight += 1
        try:
            await self._serve(exchange, outcome)
        except WireError as error:
            self._refuse(exchange, outcome, error)
        except asyncio.CancelledError:
            outcome.status, outcome.error = ClientGone.status, ClientGone.code
            raise
        except Exception:
            _log.exception("request failed", extra={"fields": {"request_id": outcome.request_id}})
            self._refuse(exchange, outcome, WireError("something broke inside the gateway"))
        finally:
            self.in_flight -= 1
            outcome.total_ms = (time.monotonic() - exchange.arrival) * 1000
            outcome.answer_bytes = exchange.sent
            for observer in self.observers:
                observer.finished(outcome)

    async def _serve(self, exchange: Exchange, outcome: Outcome) -> None:
        headers = exchange.headers
        outcome.request_id = ids.request_id(headers.get(REQUEST_ID))
        if exchange.fault is not None:
            raise exchange.fault
        try:
            target = strict.origin_target(exchange.method, exchange.version, exchange.target, headers)
        except WireError:
            exchange.keep_alive = False
            raise
        outcome.path = target
        call = paths.parse(exchange.method, target)
        outcome.route = call.route
        outcome.model = call.model or (self._fleet.default_model if call.inference else "")
        trace, state = forwarding.trace_of(headers)
        outcome.trace_id = trace.trace_id
        outcome.client = self._forward.client(exchange.client, headers)
        if call.kind in LOCAL:
            status, kind, body = self._local.answer(call)
            outcome.status = status
            exchange.answer(status, self._fields(exchange, outcome, [("Content-Type", kind)]), [body])
            return
        self._check_servable(call)
        fields = self._forward.fields(headers, exchange.client, "http", outcome.request_id, trace) + state
        request = Request(exchange.method, target, fields, self._no_body, _ticket(call, outcome.request_id))
        if call.inference:
            await self._infer(exchange, outcome, call, request)
        else:
            await self._ask(exchange, outcome, request)

    def _check_servable(self, call: Call) -> None:
        """Before the body is asked for: refuse what would only be refused after it."""
        servable = self._fleet.servable(call.model, call.version)
        if servable == "unknown_model":
            raise NotFound("no node has announced this model")
        if servable == "no_node_now":
            raise NoNode("no node can serve this now", headers={RETRY_AFTER: "1"})

    async def _infer(self, exchange: Exchange, outcome: Outcome, call: Call, request: Request) -> None:
        body = request.body = self._open_body(exchange)
        ticket = request.ticket
        ticket.explain = outcome.explain = self._node_names and exchange.headers.get(EXPLAIN) is not None
        try:
            wanted_seconds = await self._receive(exchange, call, request)
            now = time.monotonic()
            ticket.arrival = now
            ticket.deadline = self._deadline(exchange, body, wanted_seconds, now)
            ticket.body_bytes = body.size or body.received
            self._scheduler.classify(ticket)
            _note(outcome, ticket, (now - exchange.arrival) * 1000)
            served = await self._dispatcher.dispatch(request, outcome)
            await self._deliver(exchange, outcome, served)
        finally:
            exchange.connection.upload = None
            body.release()

    def _open_body(self, exchange: Exchange) -> Body:
        """Decide by the head whether the body may come, and say so to a client that waits for the word."""
        headers = exchange.headers
        try:
            size = strict.declared_length(headers, self._limits.body_bytes)
        except WireError:
            exchange.keep_alive = False  # the parser itself gives up on the longest of lengths
            raise
        exchange.awaits_continue = strict.wants_continue(exchange.version, headers)
        if size == 0:
            if "Content-Length" not in headers:
                raise LengthRequired("a body is needed, with its length or in chunks")
            raise BadRequest("the body is empty")
        if not self.bytes.fits(min(size or 0, self._limits.replay_bytes)):
            raise QueueFull("too many bytes are being uploaded at once", headers={RETRY_AFTER: "1"})
        exchange.proceed()
        body = Body(exchange.payload, size, self._limits, self.bytes)
        exchange.connection.upload = body
        return body

    async def _receive(self, exchange: Exchange, call: Call, request: Request) -> float | None:
        """Read the body as far as a slot may wait for it; the time limit it names, in seconds."""
        headers = exchange.headers
        body = request.body
        length = _header_length(headers.get(INFERENCE_HEADER_LENGTH))
        sniffer = Sniffer(call, headers.get("Content-Type"), length, headers.get("Content-Encoding"))
        sniffed = await body.begin(sniffer)
        sizing.apply(sniffed, call, request.ticket, self._fleet)
        await body.hold(self._limits.replay_bytes)
        return sniffed.timeout_us / 1e6 or None

    def _deadline(self, exchange: Exchange, body: Body, wanted_seconds: float | None, now: float) -> float:
        """A client's own limit counts from its request's head; the default one from when the upload is in."""
        limits = self._limits
        seconds = forwarding.deadline_seconds(exchange.headers) or wanted_seconds
        if seconds is not None:
            return exchange.arrival + min(seconds, limits.request_seconds)
        return now + limits.request_seconds + (0.0 if body.complete else limits.body_seconds)

    async def _ask(self, exchange: Exchange, outcome: Outcome, request: Request) -> None:
        """A question about a model: any node that serves it knows, and answering takes no slot."""
        request.ticket.deadline = exchange.arrival + self._limits.request_seconds
        await self._deliver(exchange, outcome, await self._dispatcher.ask(request, outcome))

    async def _deliver(self, exchange: Exchange, outcome: Outcome, served: Served) -> None:
        answer = served.answer
        outcome.status = answer.status
        fields = self._fields(exchange, outcome, answer.headers)
        if answer.status >= 500:
            outcome.error = served.complaint or NodeGarbage.code
            if answer.status == 503 and not any(name.lower() == "retry-after" for name, _ in fields):
                fields.append((RETRY_AFTER, "1"))
        if outcome.explain and outcome.decision is not None:
            fields.append((EXPLAIN, json.dumps(msgspec.to_builtins(outcome.decision), separators=(",", ":"))))
        try:
            if answer.rest is None:
                exchange.answer(answer.status, fields, answer.body)
            else:
                await exchange.stream(answer.status, fields, answer.length, _pieces(answer))
        except BaseException as error:
            served.finish(error)
            raise
        served.finish()

    def _refuse(self, exchange: Exchange, outcome: Outcome, error: WireError) -> None:
        outcome.status, outcome.error, outcome.detail = error.status, error.code, error.detail
        if exchange.begun:  # too late for another answer; the connection is broken off already
            return
        if isinstance(error, BadRequest):
            exchange.keep_alive = False  # what it meant, nobody knows; least of all what follows
        status, fields, body = answers.problem(error, outcome.request_id)
        if status == 503 and RETRY_AFTER not in error.headers:
            fields.append((RETRY_AFTER, "1"))
        try:
            exchange.answer(status, self._fields(exchange, outcome, fields), [body])
        except ClientGone:
            outcome.status, outcome.error = ClientGone.status, ClientGone.code

    def _fields(self, exchange: Exchange, outcome: Outcome, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """What this answer carries, and after it what every answer does."""
        total_ms = (time.monotonic() - exchange.arrival) * 1000
        all_fields = [
            *fields,
            ("Date", answers.date(outcome.at)),
            (REQUEST_ID, outcome.request_id),
            (SERVER_TIMING, answers.timing(outcome, total_ms)),
        ]
        if outcome.node and self._node_names:
            all_fields += [
                (NODE, answers.token(outcome.node)),
                (POOL, answers.token(outcome.pool)),
                (ATTEMPTS, str(outcome.attempts)),
            ]
        return all_fields


def _note(outcome: Outcome, ticket: Ticket, recv_ms: float) -> None:
    outcome.recv_ms = recv_ms
    outcome.pixels = ticket.pixels
    outcome.image_format = ticket.image_format
    outcome.body_bytes = ticket.body_bytes
    outcome.cost_ms = ticket.cost_ms
    outcome.size_class = "heavy" if ticket.heavy else "light"
    outcome.why = ticket.why


def _ticket(call: Call, request_id: str) -> Ticket:
    """Its times and sizes come when the body has come."""
    return Ticket(request_id=request_id, arrival=0.0, deadline=0.0, model=call.model, version=call.version)


def _header_length(text: str | None) -> int | None:
    """The length of the JSON before binary tensors. Raises BadRequest."""
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"{INFERENCE_HEADER_LENGTH} must be a whole number")
    return int(text)


async def _pieces(answer: Answer) -> AsyncIterator[bytes]:
    for chunk in answer.body:
        yield chunk
    if answer.rest is not None:
        async for chunk in answer.rest:
            yield chunk
