"""The beat of the operators' side: once a second look at everything, write it down, tell every open page."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from typing import Any

import msgspec

from gateway.dashboard import news
from gateway.dashboard.document import BROKEN, Document
from gateway.dashboard.source import Source
from gateway.dashboard.watch import LOST, Look, changes
from gateway.journal import Gauges

BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.15  # a node's change of state is told no later than this
REMEMBERED_BEATS = 600  # how long a page may sleep and still be told only what is new

_log = logging.getLogger("gateway.fleet")
# What somebody may have to get up for.
_ALARMING = BROKEN | {LOST, "registry"}
_encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True):
    """One server-sent event."""

    whole: bool  # the lists are everything that is remembered, not what is new
    document: msgspec.Raw
    news: dict[str, list[Any]]


class Pulse:
    """`run` beats until cancelled; pages wait for `beat` and read `since`."""

    def __init__(self, source: Source) -> None:
        self.closed = False
        self._source = source
        self._boot = secrets.token_hex(4)  # ids of an earlier life of this gateway mean nothing here
        self._number = 0
        self._marks: OrderedDict[int, news.Marks] = OrderedDict({0: news.marks(source.journal)})
        self._document: Document | None = None
        self._encoded = b""
        self._usual = b""  # the message for whoever saw the beat before
        self._look: Look | None = None
        self._seen: tuple[str, ...] = ()
        self._event = asyncio.Event()

    async def run(self) -> None:
        """Beat; a late loop makes longer slots, not lost ones. Between beats only states are looked at."""
        last = self._source.monotonic()
        self.hurry()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._source.monotonic()
            if now - last >= BEAT_SECONDS:
                self.strike(now - last)
                last = now
            elif self._source.states() != self._seen:
                self.hurry()

    def strike(self, seconds: float) -> None:
        """One beat, `seconds` after the one before."""
        document = self._source.document()
        self._source.journal.tick(document.at, seconds, _gauges(document))
        self._publish(document)

    def hurry(self) -> None:
        """Something was changed: tell the pages now, and let the beat go on as it does."""
        self._publish(self._source.document())

    def close(self) -> None:
        """End the streams of all pages."""
        self.closed = True
        self._event.set()

    def _publish(self, document: Document) -> None:
        self._seen = self._source.states()
        self._note_changes(document)
        self._number += 1
        self._marks[self._number] = news.marks(self._source.journal)
        if len(self._marks) > REMEMBERED_BEATS:
            self._marks.popitem(last=False)
        self._document, self._encoded, self._usual = document, b"", b""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def _note_changes(self, document: Document) -> None:
        look = Look.at(document.nodes, document.registry)
        if self._look is None and not look.nodes and not document.registry.answered:
            return  # nobody has looked yet
        for event in changes(self._look, look, document.at):
            self._source.journal.events.append(event)
            level = logging.WARNING if event.kind in _ALARMING else logging.INFO
            fields = {"kind": event.kind, "subject": event.subject, "reason": event.reason}
            _log.log(level, event.text, extra={"fields": fields})
        if self._look is None or look.nodes.keys() != self._look.nodes.keys():
            self._source.keep(frozenset(look.nodes))
        self._look = look

    @property
    def id(self) -> str:
        """Of the last beat."""
        return f"{self._boot}.{self._number}"

    async def beat(self) -> None:
        """Wait for the next one, or for the end."""
        if not self.closed:
            await self._event.wait()

    def since(self, seen: str) -> bytes:
        """The message, as JSON, for a page that saw the beat `seen`; the whole when that is too long ago or unknown."""
        boot, _, number = seen.partition(".")
        known = int(number) if boot == self._boot and number.isascii() and number.isdigit() else -1
        if known == self._number - 1:
            self._usual = self._usual or self._message(known)
            return self._usual
        return self._message(known)

    def _message(self, known: int) -> bytes:
        if not self._encoded:
            self._encoded = _encode(self._document or self._source.document())
        earlier = self._marks.get(known)
        # Up to this beat and no further: what came since belongs to the next message.
        fresh = news.since(self._source.journal, earlier, self._marks[self._number])
        return _encode(Message(whole=earlier is None, document=msgspec.Raw(self._encoded), news=fresh))


def _gauges(document: Document) -> Gauges:
    return Gauges(
        busy=sum(pool.busy for pool in document.pools),
        capacity=sum(pool.capacity for pool in document.pools),
        queued=sum(pool.queued for pool in document.pools),
        usable=sum(pool.usable for pool in document.pools),
    )
