"""The node's HTTP face: a head is judged, a slot is taken, only then the body is read. The only place where an error
becomes an answer. Every answer carries the load report.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import web

from node import body, inflate, strict
from node.batcher import Batcher
from node.cache import Cache
from node.config import Limits
from node.connection import SERVER_NAME, SPOKEN, Connection, refusal
from node.control import PREFIX as REPOSITORY
from node.control import Control
from node.engine import Engine, State
from node.exchange import Answer, Asked, Incoming
from node.granting import Granting
from node.intake import Intake
from node.load import Load
from node.metrics import Metrics
from node.models import Models
from node.protocols import oip, plain, tfserving
from node.spans import Spans, Traced
from node.telling import Leaving, Telling
from node.tensors import join
from node.work import Job
from node.workers import Workers
from wire import grants, ids, load_report, paths, timing
from wire.errors import BadRequest, ClientGone, Draining, Hopeless, NodeBusy, WireError
from wire.headers import (
    BUDGET_MS,
    INFERENCE_HEADER_LENGTH,
    LOAD_REPORT,
    MODEL,
    REQUEST_ID,
    SERVER_TIMING,
    TIMEOUT_MS,
    TRACEPARENT,
)
from wire.paths import Call, Kind

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LONGEST_BUDGET_MS = 3_600_000.0
# Below this, compressing an answer costs more than it saves.
_COMPRESS_BYTES = 1024
# Up to these, inflating or parsing a body takes the event loop less time than a thread is worth.
_INFLATE_BYTES = 32_768
_PARSE_BYTES = 1 << 20
_OUR_FAULT = frozenset({500, 504})
_TRACED = web.RequestKey("TRACED", Traced)

_READERS: dict[Kind, Callable[[Incoming, Engine, Intake], Asked]] = {
    Kind.PREDICT: plain.read,
    Kind.OIP_INFER: oip.read,
    Kind.TFS_PREDICT: tfserving.read_predict,
    Kind.TFS_CLASSIFY: tfserving.read_classify,
}


class Api:
    """Answers calls. `handle` never raises, except when it is cancelled because the client hung up."""

    def __init__(  # noqa: PLR0913 - where all parts of a call's way meet
        self,
        *,
        models: Models,
        intake: Intake,
        batcher: Batcher,
        load: Load,
        granting: Granting,
        metrics: Metrics,
        limits: Limits,
        beside: Workers,
        control: Control,
        cache: Cache | None = None,
    ) -> None:
        self.leaving = Leaving()
        self.in_progress = 0
        self.spans: Spans | None = None  # no traces are written
        self._models = models
        self._intake = intake
        self._batcher = batcher
        self._load = load
        self._granting = granting
        self._metrics = metrics
        self._limits = limits
        self._beside = beside
        self._control = control
        self._cache = cache
        self._held = body.Held(limits.buffered_bytes)
        self._telling = Telling(models, load, batcher, metrics, self.leaving)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One call, whatever it is."""
        request_id = ids.request_id(request.headers.get(REQUEST_ID))
        if request.raw_path == grants.PATH:
            return await self._stream(request, request_id)
        self.in_progress += 1
        try:
            response = await self._respond(request, request_id)
        finally:
            self.in_progress -= 1
        response.headers[LOAD_REPORT] = load_report.encode(self._load.report(time.monotonic()))
        if self.leaving.announced:
            response.force_close()
        return response

    async def _stream(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        """A gateway's stream: no request, and nothing that a node which leaves would wait for."""
        headers, spoken = request.headers, request[SPOKEN]
        try:
            strict.check_head(spoken, request.raw_path, headers, request.raw_headers, self._limits.headers_bytes)
            self._refuse_when_leaving(request)
            return await self._granting.serve(request)
        except WireError as error:
            response = refusal(error, request_id)
            response.force_close()
            return response

    async def _respond(self, request: web.BaseRequest, request_id: str) -> web.Response:
        target, headers, spoken = request.raw_path, request.headers, request[SPOKEN]
        try:
            strict.check_head(spoken, target, headers, request.raw_headers, self._limits.headers_bytes)
        except WireError as error:
            response = refusal(error, request_id)
            response.force_close()
            return response
        try:
            if target.startswith(REPOSITORY):
                return _response(await self._order(request), request_id)
            call = paths.parse(request.method, target)
            if call.inference:
                return await self._infer_and_count(call, request, request_id)
            return _response(self._telling.answer(call), request_id)
        except WireError as error:
            return _refused(request, error, request_id)
        except Exception:
            trace = ids.parse_traceparent(headers.get(TRACEPARENT))
            fields = {"request_id": request_id, "trace_id": trace.trace_id if trace is not None else ""}
            log.exception("a call broke", extra=fields)
            return _refused(request, WireError(), request_id)

    async def _order(self, request: web.BaseRequest) -> Answer:
        path = request.raw_path.partition("?")[0]
        self._control.check(request.method, path, request.headers, self.leaving.announced > 0)
        with self._held.share() as share:
            return await self._control.answer(path, (await self._receive(request, share)).body)

    async def _infer_and_count(self, call: Call, request: web.BaseRequest, request_id: str) -> web.Response:
        status, code = ClientGone.status, ClientGone.code  # when it is cancelled
        traced = self.spans.begin(request.headers, request_id) if self.spans is not None else None
        if traced is not None:
            request[_TRACED] = traced
        try:
            response = await self._infer(call, request, request_id)
            status, code = response.status, ""
        except WireError as error:
            status, code = error.status, error.code
            raise
        except Exception:
            status, code = WireError.status, WireError.code
            raise
        else:
            return response
        finally:
            self._metrics.answered(call.route, status)
            self._load.answered(time.monotonic(), status in _OUR_FAULT)
            if traced is not None and self.spans is not None:
                self.spans.end(traced, request.method, request.raw_path.partition("?")[0], call.route, status, code)

    async def _infer(self, call: Call, request: web.BaseRequest, request_id: str) -> web.Response:
        engine = self._models.find(call.model, call.version, call.label)
        self._refuse_when_leaving(request)
        if engine.state is not State.READY:
            raise NodeBusy(f"{engine.title} is not ready: {engine.why}", headers={"Retry-After": "5"})
        name, budget_ms = engine.manifest.name, _budget_ms(request.headers)
        clock = asyncio.get_running_loop().time
        start = clock()
        with (
            engine.in_use(),
            self._granting.stay(request.headers.get(grants.GRANT)) as stay,
            self._load.slot(name, self._models.names),
            self._held.share() as share,
        ):
            self._refuse_hopeless(name, budget_ms or self._default_ms)
            asked = await self._understand(call, await self._receive(request, share), engine)
            budget_ms = min(filter(None, (budget_ms, asked.timeout_ms)), default=self._default_ms)
            if self._cache is not None:
                self._cache.answer(engine, asked.rows)
            job = Job(engine, asked.rows, clock(), start + budget_ms / 1000)
            self._granting.credits.expect(stay, job.predicted_ms)
            if (traced := request.get(_TRACED)) is not None:
                traced.job, traced.received = job, time.monotonic()
            with self._load.work(name, job.predicted_ms):
                rows = await self._batcher.run(job)
            done = clock()
            answer = asked.answer(join(rows, engine.batched))
            answer.headers[SERVER_TIMING] = self._timing(job, done)
            answer.headers[MODEL] = engine.title
            response = _response(answer, request_id, request.headers.get("Accept-Encoding"))
            self._metrics.phase(engine, "postprocess", (clock() - done) * 1000)
        return response

    @property
    def _default_ms(self) -> float:
        return self._limits.request_seconds * 1000

    def _refuse_when_leaving(self, request: web.BaseRequest) -> None:
        refusing, connection = self.leaving.refusing, request.protocol
        if refusing and isinstance(connection, Connection) and connection.head_since > refusing:
            raise Draining("this node is leaving")

    def _refuse_hopeless(self, model: str, budget_ms: float) -> None:
        wait_ms = self._load.wait_ms(model)
        if wait_ms > budget_ms:
            seconds = str(max(1, round(wait_ms / 1000)))
            raise Hopeless(f"{wait_ms:.0f} ms of work lie before this request", headers={"Retry-After": seconds})

    async def _receive(self, request: web.BaseRequest, share: body.Share) -> Incoming:
        headers, limits = request.headers, self._limits
        coding = inflate.coding_of(", ".join(headers.getall("Content-Encoding", [])))
        header_length = _header_length(headers)
        length = body.declared_length(headers, limits)
        if strict.expects_continue(request.version, headers):
            share.grow_to(length or 0)
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0
        data = await body.read(request.content, length, limits, share)
        if coding:
            data = await self._inflated(data, coding)
            share.grow_to(len(data))
        return Incoming(data, headers.get("Content-Type", ""), request.raw_path.partition("?")[2], header_length)

    async def _understand(self, call: Call, incoming: Incoming, engine: Engine) -> Asked:
        work = partial(_READERS[call.kind], incoming, engine, self._intake)
        return work() if len(incoming.body) <= _PARSE_BYTES else await self._beside.call(work)

    async def _inflated(self, data: bytes, coding: str) -> bytes:
        def work() -> bytes:
            return inflate.inflate(data, coding, most_bytes=self._limits.body_bytes, ratio=self._limits.inflate_ratio)

        return work() if len(data) <= _INFLATE_BYTES else await self._beside.call(work)

    def _timing(self, job: Job, done: float) -> str:
        queue_ms = max(0.0, (done - job.arrival) * 1000 - job.decode_ms - job.infer_ms)
        self._metrics.phase(job.engine, "queue", queue_ms)
        if job.cached:  # without `infer`: a gateway must not learn from it what such a request costs
            return timing.encode({"queue": queue_ms, "cache": 0.0})
        return timing.encode({"queue": queue_ms, "decode": job.decode_ms, "infer": job.infer_ms})


def _refused(request: web.BaseRequest, error: WireError, request_id: str) -> web.Response:
    response = refusal(error, request_id)
    if not request.content.is_eof():
        response.force_close()  # what is left of the body may be long
    return response


def _response(answer: Answer, request_id: str, accept_encoding: str | None = None) -> web.Response:
    headers = {**answer.headers, "Content-Type": answer.content_type, REQUEST_ID: request_id, "Server": SERVER_NAME}
    data = answer.body
    if len(data) >= _COMPRESS_BYTES and (coding := inflate.chosen(accept_encoding)):
        data = inflate.deflate(data, coding)
        headers["Content-Encoding"], headers["Vary"] = coding, "Accept-Encoding"
    return web.Response(status=answer.status, body=data, headers=headers)


def _budget_ms(headers: Mapping[str, str]) -> float:
    """What is left for this call, 0 when nobody says. Raises BadRequest."""
    named = [_milliseconds(name, headers[name]) for name in (BUDGET_MS, TIMEOUT_MS) if name in headers]
    return min(named, default=0.0)


def _milliseconds(name: str, text: str) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else -1.0  # Python reads 1_000, nobody else does
    except ValueError:
        value = -1.0
    if not 0 < value <= _LONGEST_BUDGET_MS:
        raise BadRequest(f"{name} is a number of milliseconds, at most an hour")
    return value


def _header_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get(INFERENCE_HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"{INFERENCE_HEADER_LENGTH} is a number of bytes")
    return int(text)
