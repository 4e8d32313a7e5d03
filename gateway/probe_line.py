"""A connection to a node on which it is asked again and again whether it is ready.

Read as strictly as any other answer (node_reader.py), but without tasks, futures and a pool: a gateway does this
hundreds of times a second, mostly with nothing else to do in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from discovery.instance import Instance
from gateway.node_answer import Answer, FieldRules, assemble
from gateway.node_connection import ClosedUnanswered
from gateway.node_reader import AnswerReader
from wire.errors import NodeGarbage, NodeUnreachable, WireError

# Bytes of a body after which its head alone is the answer.
LONGEST = 65536


class ProbeLine(asyncio.Protocol):
    """`ask` once it is open; `heard(self, result)` tells the answer, without its body, or why there is none."""

    __slots__ = ("_heard", "_reader", "_transport", "asked", "head", "instance", "open", "task", "used")

    def __init__(
        self, instance: Instance, rules: FieldRules, heard: Callable[[ProbeLine, Answer | WireError], None]
    ) -> None:
        self.instance = instance
        self.head = b""  # of the request
        self.task: asyncio.Task[None] | None = None  # that connects it
        self.open = self.asked = self.used = False
        self._heard = heard
        self._reader = AnswerReader(rules)
        self._transport: asyncio.Transport | None = None

    def ask(self) -> None:
        """Send the head, which is all of the request."""
        self.asked = True
        self._reader.begin(self.head, echo=False)
        if self.open and self._transport is not None:
            self._transport.write(self.head)
        else:  # closed as soon as it was connected
            self.connection_lost(None)

    def close(self) -> None:
        """At once, and nothing more is heard."""
        self.asked = self.open = False
        if self.task is not None:
            self.task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and with TLS also shaken hands."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or what nobody asked for."""
        if not self.asked:
            self.close()
            return
        reader = self._reader
        reader.feed(data)
        if reader.broken:
            self._end(NodeGarbage(f"a node's answer is none: {reader.broken}"))
        elif reader.done:
            self._answered(keep=reader.keep)
        elif reader.head_done and reader.body_bytes > LONGEST:
            self._answered(keep=False)

    def eof_received(self) -> None:
        """An answer without length or chunks ends so; the transport closes itself."""
        self.open = False
        if self.asked and self._reader.until_close:
            self._answered(keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by whomever."""
        self.open = False
        if self.asked:
            why = f": {exc}" if exc else ""
            kind = ClosedUnanswered if self._reader.silent else NodeUnreachable
            self._end(kind(f"a node closed the connection without an answer{why}"))

    def _answered(self, *, keep: bool) -> None:
        reader = self._reader
        reader.take()
        answer = assemble(reader.status, reader.headers, reader.special, reader.length, [], None)
        if keep:
            self.asked, self.used = False, True
            self._heard(self, answer)
        else:
            self._end(answer)

    def _end(self, result: Answer | WireError) -> None:
        self.close()
        self._heard(self, result)
