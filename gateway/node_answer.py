"""What a node answered, as the rest of the gateway sees it, and what each of its header fields means to us (pure)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from wire.errors import NodeBusy
from wire.headers import (
    HOP_BY_HOP,
    INTERNAL,
    INTERNAL_PREFIX,
    LOAD_REPORT,
    LOAD_REPORT_BIN,
    MODEL,
    REFUSED,
    REQUEST_ID,
    SERVER_TIMING,
)
from wire.load_report import LoadReport, decode_value
from wire.timing import decode

_PLAIN = frozenset({b"keep-alive", b"close"})  # what Connection says when it names no field
# What a field is to us. PASS goes on to the client, SILENT to nobody, FORGED makes the whole answer garbage.
PASS, SILENT, LENGTH, CODING, CONNECTION, REPORT, REPORT_BIN, TIMING, REFUSAL, ECHOED_ID, FORGED = range(11)

_RULES = {
    "content-length": LENGTH,
    "transfer-encoding": CODING,
    "connection": CONNECTION,
    LOAD_REPORT: REPORT,
    LOAD_REPORT_BIN: REPORT_BIN,
    SERVER_TIMING.lower(): TIMING,
    REFUSED.lower(): REFUSAL,
    REQUEST_ID.lower(): ECHOED_ID,
    MODEL.lower(): PASS,
    # Written by the gateway for itself: what the node runs on is nobody's business, and its clock may be wrong.
    "date": SILENT,
    "server": SILENT,
    "x-powered-by": SILENT,
    # Would send the client to the node's own address.
    "alt-svc": SILENT,
    # Some parsers read "_" as "-": two readers, two framings.
    "content_length": FORGED,
    "transfer_encoding": FORGED,
}


class FieldRules:
    """Rules by a field's name as it stands on the wire; remembers the spellings that nodes use."""

    # Nodes send a dozen names; a hostile one must not fill the memory.
    _MOST = 512

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, str]] = {}
        self.get = self._known.get

    def learn(self, name: bytes) -> tuple[int, str]:
        """The rule of a name seen for the first time, and the name as text."""
        text = name.decode("ascii")  # the parser lets tokens pass only
        lower = text.lower()
        rule = _RULES.get(lower)
        if rule is None:
            kept_back = lower in HOP_BY_HOP or lower in INTERNAL or lower.startswith(INTERNAL_PREFIX)
            rule = SILENT if kept_back else PASS
        if len(self._known) < self._MOST:
            self._known[name] = rule, text
        return rule, text


class Rest(Protocol):
    """What is still to come of a long answer; raises NodeGarbage or DeadlineMissed when it breaks off."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None:
        """Give it up: the node sees its connection close. Nothing happens at its end."""
        ...


class Answer(msgspec.Struct):
    """One node's answer: whole, or its beginning and the `rest` as it comes.

    `headers` hold what may go to the client: without hop-by-hop fields, Content-Length, load report, Server-Timing,
    X-Request-Id, Date, Server and internal fields. Whoever does not read `rest` to its end calls `discard()`.
    """

    status: int
    headers: list[tuple[str, str]]
    body: list[bytes]
    rest: Rest | None
    length: int | None  # Content-Length as the node said it; None when it said none
    report: LoadReport | None
    timing: dict[str, float]  # milliseconds by name
    refused: bool = False  # the node was busy and read no body
    connect_ms: float = 0.0
    reused: bool = True

    def discard(self) -> None:
        """Give up the rest; the node sees its connection close."""
        if self.rest is not None:
            self.rest.close()


class Refused(NodeBusy):
    """NodeBusy, with the load report that came with it."""

    def __init__(self, report: LoadReport | None) -> None:
        super().__init__("the node is busy")
        self.report = report


def assemble(
    status: int,
    headers: list[tuple[str, str]],
    special: dict[int, bytes],
    length: int | None,
    body: list[bytes],
    rest: Rest | None,
) -> Answer:
    """An answer from the fields that pass and the `special` ones, by rule."""
    report, timing = special.get(REPORT), special.get(TIMING)
    if report is None and REPORT_BIN in special:
        report = b"BIN " + special[REPORT_BIN]
    return Answer(
        status,
        without_named(headers, special[CONNECTION])
        if special.get(CONNECTION, b"keep-alive") not in _PLAIN
        else headers,
        body,
        rest,
        length,
        None if report is None else decode_value(report.decode("latin-1")),
        {} if timing is None else decode(timing.decode("latin-1")),
        REFUSAL in special and status == NodeBusy.status,
    )


def without_named(headers: list[tuple[str, str]], connection: bytes) -> list[tuple[str, str]]:
    """The fields less those that `Connection` names: they end at this hop (RFC 9110 section 7.6.1)."""
    named = {token.strip() for token in connection.decode("latin-1").lower().split(",")} - {"close", "keep-alive"}
    return [field for field in headers if field[0].lower() not in named] if named else headers
