"""What operators may read: the page, the document, the journal, the live stream, the metrics."""

from __future__ import annotations

import asyncio
import gzip

import msgspec
from aiohttp import web

from gateway.dashboard import news, page
from gateway.dashboard.assets import Asset
from gateway.dashboard.document import VERSION
from gateway.dashboard.guard import HEADERS
from gateway.dashboard.pulse import Pulse
from gateway.dashboard.source import Answers, Source
from wire.errors import BadRequest, NotFound, QueueFull

# A page keeps one stream open; this many are a mistake of some script.
STREAMS = 64
# A page that takes nothing for so long is asleep; it comes back by itself.
WRITE_SECONDS = 10.0
RETRY_MS = 1000

STREAM_HEADERS = {
    **HEADERS,
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}

_encode = msgspec.json.Encoder().encode


class Reading:
    """The handlers that change nothing."""

    def __init__(self, source: Source, answers: Answers, pulse: Pulse, files: dict[str, Asset]) -> None:
        self._source = source
        self._answers = answers
        self._pulse = pulse
        self._files = files
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """What is served where."""
        return [
            web.get("/", self.index),
            web.get("/static/{path:.+}", self.static),
            web.get("/api/fleet", self.fleet),
            web.get("/api/journal", self.journal),
            web.get("/api/decisions", self.decisions),
            web.get("/api/events", self.events, allow_head=False),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.alive),
            web.get("/readyz", self.ready),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """The page."""
        body = page.draw(self._source.document(), reload="reload" in request.query).encode()
        return _packed(request, body, gzip.compress(body, 5), "text/html; charset=utf-8")

    async def static(self, request: web.Request) -> web.Response:
        """A file of the table."""
        asset = self._files.get(request.match_info["path"])
        if asset is None:
            raise NotFound("No such file")
        response = _packed(request, asset.plain, asset.packed, asset.content_type)
        response.headers.update({"ETag": asset.etag, "Cache-Control": "no-cache"})
        if request.headers.get("If-None-Match") == asset.etag:
            return web.Response(status=304, headers={"ETag": asset.etag, "Cache-Control": "no-cache"})
        return response

    async def fleet(self, _request: web.Request) -> web.Response:
        """The document."""
        return _json(self._source.document())

    async def journal(self, _request: web.Request) -> web.Response:
        """Everything that is remembered: history, errors, decisions, dots, events."""
        return _json({"version": VERSION, **news.since(self._source.journal, None)})

    async def decisions(self, request: web.Request) -> web.Response:
        """One request, explained; `?request_id=`."""
        wanted = request.query.get("request_id", "")
        if not wanted:
            raise BadRequest("Name a request: ?request_id=")
        found = await self._answers.decision(wanted)
        if found is None:
            raise NotFound(
                "This request is not remembered: only the last ones are, and those that asked to be explained"
            )
        return _json(found)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The live stream: the whole on connect or what is new since Last-Event-ID, then one message a second."""
        if self._streams >= STREAMS:
            raise QueueFull("Too many open pages", headers={"Retry-After": "5"})
        seen = request.headers.get("Last-Event-ID") or request.query.get("since", "")
        self._streams += 1
        try:
            return await self._stream(request, seen)
        finally:
            self._streams -= 1

    async def _stream(self, request: web.Request, seen: str) -> web.StreamResponse:
        response = web.StreamResponse(headers=STREAM_HEADERS)
        await response.prepare(request)
        try:
            await response.write(b"retry: %d\n\n" % RETRY_MS)
            while not self._pulse.closed:
                message, seen = self._pulse.since(seen), self._pulse.id
                async with asyncio.timeout(WRITE_SECONDS):
                    await response.write(b"id: %b\ndata: %b\n\n" % (seen.encode(), message))
                await self._pulse.beat()
        except (TimeoutError, ConnectionError):
            if request.transport:
                request.transport.abort()
        return response

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text, or OpenMetrics with exemplars when it is asked for."""
        body, content_type = await self._answers.metrics(request.headers.get("Accept", ""))
        return _packed(request, body, gzip.compress(body, 4), content_type)

    async def alive(self, _request: web.Request) -> web.Response:
        """This process runs."""
        return web.Response(text="alive\n")

    async def ready(self, _request: web.Request) -> web.Response:
        """Whether anything can be served: 503 while the verdict is down."""
        verdict = self._source.document().verdict
        return web.Response(status=503 if verdict.level == "down" else 200, text=verdict.text + "\n")


def _json(value: object) -> web.Response:
    return web.Response(body=_encode(value), content_type="application/json")


def _packed(request: web.Request, plain: bytes, packed: bytes, content_type: str) -> web.Response:
    headers = {"Content-Type": content_type, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=packed, headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=plain, headers=headers)
