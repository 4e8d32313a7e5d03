"""The HTTP face: a request is checked, sized, sent on its way, answered; the only place where errors are answered."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

import msgspec
from aiohttp.streams import EMPTY_PAYLOAD

from gateway import answers, forwarding, sizing, strict
from gateway.admission import ByteBudget
from gateway.body import Body
from gateway.config import Limits
from gateway.dispatcher import Dispatcher, Served
from gateway.exchange import Exchange, Fields
from gateway.fleet import Fleet
from gateway.forwarding import Forwarding, Names
from gateway.head import HeadReader
from gateway.local_calls import LOCAL, LocalCalls
from gateway.node_answer import Answer
from gateway.node_head import field_lines, request_line
from gateway.outcome import Outcome
from gateway.rate import Rate
from gateway.reading import LENGTH, Reading, RequestHead, texts
from gateway.request import Request
from gateway.scheduler import Scheduler
from gateway.ticket import Ticket
from gateway.traced import Traced
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
    EXPLAIN,
    RETRY_AFTER,
)
from wire.paths import Call
from wire.sniff import Sniffed

_log = logging.getLogger("gateway.api")
_EXPLAIN = EXPLAIN.lower()
# Tracebacks of our own mistakes that are written down.
_FAILURES_PER_SECOND = 5.0


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
        self._heads = HeadReader()
        self._digits = ids.Digits()
        self._forward = forward
        self._local = local
        self._node_names = node_names
        self.observers = observers
        # Whether a new trace of this id is written; None: no trace is, whoever began it.
        self.sampled: Callable[[str], bool] | None = None
        self.bytes = ByteBudget(limits.buffered_bytes)
        self._no_body = Body(EMPTY_PAYLOAD, 0, limits, self.bytes)
        self._failures = Rate(_FAILURES_PER_SECOND)
        self.in_flight = 0
        self._finished: list[Outcome] = []  # not yet told to observers
        self._loop = asyncio.get_running_loop()

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request. Raises nothing but cancellation: the client hung up."""
        outcome = Outcome(
            at=time.time(),
            request_id="",
            method=exchange.method,
            route="other",
            path=exchange.target,
            status=0,
            client=exchange.connection.client,
        )
        self.in_flight += 1
        try:
            head, varying = exchange.head, exchange.varying
            if isinstance(head, WireError):
                raise head
            names = Names(varying, self._digits, self.sampled)
            outcome.request_id, outcome.trace_id = names.request_id, names.trace.trace_id
            if names.trace.flags and self.sampled is not None:
                outcome.traced = Traced(names.trace, names.parent_span_id)
            reading = head.reading or self._read(exchange, outcome, head)
            outcome.path, outcome.route, outcome.client = reading.path, reading.route, reading.client
            if reading.call.kind in LOCAL:
                self._answer_here(exchange, outcome, reading.call)
            else:
                outcome.model = reading.call.model or self._fleet.default_model
                request = self._request(exchange.method, reading, names)
                if reading.inference:
                    await self._infer(exchange, outcome, reading, varying.get(LENGTH), request)
                else:
                    await self._ask(exchange, outcome, request)
        except WireError as error:
            self._refuse(exchange, outcome, error)
        except asyncio.CancelledError:
            outcome.status, outcome.error = ClientGone.status, ClientGone.code
            raise
        except Exception:
            if self._failures.allows(outcome.at):
                fields = {"request_id": outcome.request_id, "trace_id": outcome.trace_id}
                _log.exception("request failed", extra={"fields": fields})
            self._refuse(exchange, outcome, WireError("something broke inside the gateway"))
        finally:
            self.in_flight -= 1
            outcome.total_ms = (time.monotonic() - exchange.arrival) * 1000
            outcome.answer_bytes = exchange.sent
            if not self._finished:
                self._loop.call_soon(self._tell)
            self._finished.append(outcome)

    def _tell(self) -> None:
        """Let the observers know, each of all requests that ended in this turn of the loop: its code is hot then."""
        finished, self._finished = self._finished, []
        for observer in self.observers:
            for outcome in finished:
                observer.finished(outcome)

    def _read(self, exchange: Exchange, outcome: Outcome, parsed: RequestHead) -> Reading:
        """What the head means."""
        head = self._heads.read(texts(parsed.repeating))
        try:
            target = strict.origin_target(exchange.method, exchange.version, exchange.target, head.said)
        except WireError:
            exchange.keep_alive = False
            raise
        outcome.path = path = target.partition("?")[0]  # a query may hold a key, and paths are written down
        call = paths.parse(exchange.method, target)
        outcome.route = call.route
        peer, outcome.client = outcome.client, self._forward.client(outcome.client, head)
        lines = "" if call.kind in LOCAL else field_lines(self._forward.fields(head, peer))
        start = request_line(exchange.method, target)
        parsed.reading = reading = Reading(call, outcome.client, path, head.said, start, lines)
        return reading

    def _request(self, method: str, reading: Reading, names: Names) -> Request:
        call = reading.call
        ticket = Ticket(request_id=names.request_id, arrival=0.0, deadline=0.0, model=call.model, version=call.version)
        return Request(method, reading.start, reading.lines + names.lines, self._no_body, ticket)

    def _answer_here(self, exchange: Exchange, outcome: Outcome, call: Call) -> None:
        outcome.status, kind, body = self._local.answer(call)
        exchange.answer(outcome.status, [("Content-Type", kind)], self._lines(exchange, outcome), [body])

    async def _ask(self, exchange: Exchange, outcome: Outcome, request: Request) -> None:
        """A question about a model: any node that serves it knows, and answering takes no slot."""
        self._check_servable(request.ticket)
        request.ticket.deadline = exchange.arrival + self._limits.request_seconds
        served = await self._dispatcher.ask(request, outcome)
        if served.answer.rest is None:
            self._deliver(exchange, outcome, served)
        else:
            await self._stream(exchange, outcome, served)

    async def _infer(
        self, exchange: Exchange, outcome: Outcome, reading: Reading, length: str | None, request: Request
    ) -> None:
        call, said, ticket = reading.call, reading.said, request.ticket
        ticket.explain = outcome.explain = _EXPLAIN in said and self._node_names
        body = request.body = self._body_of(exchange, said, length, ticket)
        try:
            if body.arrive(exchange.whole):
                sniffed = sizing.first_look(call, said, body.buffered[0]) or await body.begin(sizing.Look(call, said))
                sizing.apply(sniffed, call, ticket, self._fleet)
            else:
                sniffed = await self._receive(exchange, call, said, request)
            now = time.monotonic()
            ticket.arrival = now
            ticket.deadline = self._deadline(exchange, body, said, sniffed, now)
            ticket.body_bytes = body.size or body.received
            if not ticket.body_bytes:
                raise BadRequest("the body is empty")
            self._scheduler.classify(ticket)
            _note(outcome, ticket, (now - exchange.arrival) * 1000)
            served = await self._dispatcher.dispatch(request, outcome)
            if served.answer.rest is None:
                self._deliver(exchange, outcome, served)
            else:
                await self._stream(exchange, outcome, served)
        finally:
            exchange.connection.upload = None
            body.release()

    def _body_of(self, exchange: Exchange, said: Mapping[str, str], length: str | None, ticket: Ticket) -> Body:
        """What the head promises, if it may come at all."""
        try:
            size = strict.declared_length("transfer-encoding" in said, length, self._limits.body_bytes)
        except WireError:
            exchange.keep_alive = False  # the parser itself gives up on the longest of lengths
            raise
        if "expect" in said:
            exchange.awaits_continue = strict.wants_continue(exchange.version, said)
        if size == 0:
            self._check_servable(ticket)
            if length is None:
                raise LengthRequired("a body is needed, with its length or in chunks")
            raise BadRequest("the body is empty")
        return Body(exchange.payload, size, self._limits, self.bytes)

    async def _receive(self, exchange: Exchange, call: Call, said: Mapping[str, str], request: Request) -> Sniffed:
        """Read the body as far as a slot may wait for it; whatever can be refused is refused before it comes."""
        limits, body, ticket = self._limits, request.body, request.ticket
        self._check_servable(ticket)
        if not self.bytes.fits(min(body.size or 0, limits.replay_bytes)):
            raise QueueFull("too many bytes are being uploaded at once", headers={RETRY_AFTER: "1"})
        look = sizing.Look(call, said)
        exchange.proceed()
        exchange.connection.upload = body
        sniffed = await body.begin(look)
        sizing.apply(sniffed, call, ticket, self._fleet)
        await body.hold(limits.replay_bytes)
        return sniffed

    def _check_servable(self, ticket: Ticket) -> None:
        servable = self._fleet.servable(ticket.model, ticket.version)
        if servable == "unknown_model":
            raise NotFound("no node has announced this model")
        if servable == "no_node_now":
            raise NoNode("no node can serve this now", headers={RETRY_AFTER: "1"})

    def _deadline(self, exchange: Exchange, body: Body, said: Mapping[str, str], sniffed: Sniffed, now: float) -> float:
        """A client's own limit counts from its request's head; the default one from when the upload is in."""
        limits = self._limits
        seconds = sniffed.timeout_us / 1e6
        if forwarding.TIMEOUT in said:
            seconds = forwarding.deadline_seconds(said[forwarding.TIMEOUT])
        if seconds:
            return exchange.arrival + min(seconds, limits.request_seconds)
        return now + limits.request_seconds + (0.0 if body.complete else limits.body_seconds)

    def _deliver(self, exchange: Exchange, outcome: Outcome, served: Served) -> None:
        """Send an answer that is whole; its lease has ended."""
        answer = served.answer
        outcome.status = status = answer.status
        fields = answer.headers if status < 500 and not outcome.explain else self._fields(outcome, served)
        exchange.answer(status, fields, self._lines(exchange, outcome), answer.body)

    async def _stream(self, exchange: Exchange, outcome: Outcome, served: Served) -> None:
        """Send a long answer as it comes."""
        answer = served.answer
        outcome.status = answer.status
        fields = self._fields(outcome, served)
        lines = self._lines(exchange, outcome)
        try:
            await exchange.stream(answer.status, fields, lines, answer.length, _pieces(answer))
        except BaseException as error:
            served.finish(error)
            raise
        served.finish()

    def _fields(self, outcome: Outcome, served: Served) -> Fields:
        """What the node's answer says to the client."""
        answer = served.answer
        fields = answer.headers
        if answer.status >= 500:
            outcome.error = served.complaint or NodeGarbage.code
            if answer.status == 503 and not any(name.lower() == "retry-after" for name, _ in fields):
                fields = [*fields, (RETRY_AFTER, "1")]
        if outcome.explain and outcome.decision is not None:
            decision = json.dumps(msgspec.to_builtins(outcome.decision), separators=(",", ":"))
            fields = [*fields, (EXPLAIN, decision)]
        return fields

    def _refuse(self, exchange: Exchange, outcome: Outcome, error: WireError) -> None:
        outcome.status, outcome.error, outcome.detail = error.status, error.code, error.detail
        if exchange.begun:  # too late for another answer; the connection is broken off already
            return
        if isinstance(error, BadRequest):
            exchange.keep_alive = False  # what it meant, nobody knows; least of all what follows
        outcome.request_id = outcome.request_id or ids.request_id(None)
        status, fields, body = answers.problem(error, outcome.request_id)
        if status == 503 and RETRY_AFTER not in error.headers:
            fields.append((RETRY_AFTER, "1"))
        try:
            exchange.answer(status, fields, self._lines(exchange, outcome), [body])
        except ClientGone:
            outcome.status, outcome.error = ClientGone.status, ClientGone.code

    def _lines(self, exchange: Exchange, outcome: Outcome) -> str:
        total_ms = (time.monotonic() - exchange.arrival) * 1000
        return answers.common_lines(outcome, total_ms, self._node_names)


def _note(outcome: Outcome, ticket: Ticket, recv_ms: float) -> None:
    outcome.recv_ms = recv_ms
    outcome.pixels = ticket.pixels
    outcome.image_format = ticket.image_format
    outcome.body_bytes = ticket.body_bytes
    outcome.cost_ms = ticket.cost_ms
    outcome.size_class = "heavy" if ticket.heavy else "light"
    outcome.why = ticket.why


async def _pieces(answer: Answer) -> AsyncIterator[bytes]:
    for chunk in answer.body:
        yield chunk
    if answer.rest is not None:
        async for chunk in answer.rest:
            yield chunk
